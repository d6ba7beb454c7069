/** Finds and reads the vectors that pytest and vitest share. */
import { readdirSync, readFileSync } from "node:fs";

const FOLDER = new URL("../../tests/vectors/", import.meta.url);

/** The parsed content of one JSON file, by its path below `tests/vectors`. */
export function vector<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(path, FOLDER), "utf8")) as T;
}

/** The names of the JSON files in a folder below `tests/vectors`; an empty folder is an error. */
export function vectorNames(folder: string): string[] {
  const names = readdirSync(new URL(`${folder}/`, FOLDER)).filter((name) => name.endsWith(".json"));
  if (names.length === 0) throw new Error(`tests/vectors/${folder} has no vectors.`);
  return names.sort();
}
