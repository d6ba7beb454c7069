/** Every colour of text is readable on every ground it stands on (WCAG 2.2, 1.4.3), light and dark. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

const css = readFileSync(new URL("../../src/pages/styles/tokens.css", import.meta.url), "utf8");

function colours(text: string): Record<string, string> {
  const found = [...text.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6});/g)].map(([, name, value]) => [name, value]);
  return Object.fromEntries(found) as Record<string, string>;
}

const [lightText = "", darkText = ""] = css.split("@media (prefers-color-scheme: dark)");
const light = colours(lightText);
const SCHEMES = { light, dark: { ...light, ...colours(darkText) } };

function luminance(colour: string): number {
  const channels = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
  const [red = 0, green = 0, blue = 0] = channels.map((value) =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [darker = 0, lighter = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

const GROUNDS = ["ground", "surface", "sunken"];
const PERSONS = Array.from({ length: 8 }, (_, index) => `person-${index}`);
const PAIRS: readonly (readonly [string, string])[] = [
  ...["text", "text-quiet", "accent", "accent-strong"].flatMap((colour) =>
    GROUNDS.map((ground) => [colour, ground] as const),
  ),
  ...["good", "warn", "bad"].flatMap((tone) =>
    [`${tone}-tint`, ...GROUNDS].map((ground) => [tone, ground] as const),
  ),
  ...["good-tint", "warn-tint", "bad-tint", "accent-tint"].flatMap((ground) => [
    ["text", ground] as const,
    ["text-quiet", ground] as const,
  ]),
  ["accent", "accent-tint"],
  ["on-accent", "accent"],
  ["on-accent", "accent-strong"],
  ["ground", "bad"],
  ["on-stage", "stage"],
  ["on-stage-quiet", "stage"],
  ["on-hand", "hand"],
  ...PERSONS.map((person) => ["on-person", person] as const),
];

describe.each(Object.entries(SCHEMES))("%s", (_, scheme) => {
  test.each(PAIRS)("%s on %s", (colour, ground) => {
    const [front, back] = [scheme[colour], scheme[ground]];
    if (!front || !back) throw new Error(`tokens.css has no ${front ? ground : colour}.`);
    expect(contrast(front, back)).toBeGreaterThanOrEqual(4.5);
  });
});
