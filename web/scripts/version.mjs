// The version of the distribution stands in pyproject.toml and nowhere else.
import { readFileSync } from "node:fs";

const text = readFileSync(new URL("../../pyproject.toml", import.meta.url), "utf8");

export const version = text.match(/^\[project\]\n(?:(?!\[).*\n)*?version = "(.+)"$/m)?.[1];

if (!version) throw new Error("pyproject.toml has no version under [project].");
