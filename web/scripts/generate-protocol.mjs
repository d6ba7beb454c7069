// Writes the TypeScript types (frames.gen.ts) and the run-time shapes (shapes.gen.ts) of all frames, the same for the
// signals of a call (signals.gen.ts, signal-shapes.gen.ts) and of a group of peers (groups.gen.ts, group-shapes.gen.ts),
// the table of errors (errors.gen.ts) and the constants of both sides (constants.gen.ts), from schema.json, which `python -m peerbus.protocol.schema` exports.
// With --check it writes nothing and fails on a difference.
import { readFileSync, writeFileSync } from "node:fs";

const folder = new URL("../src/sdk/protocol/", import.meta.url);
const schema = JSON.parse(readFileSync(new URL("schema.json", folder), "utf8"));
const definitions = schema.$defs;
const NOTICE = "// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.\n";
const MAX_SAFE = Number.MAX_SAFE_INTEGER;

const nameOf = (ref) => ref.split("/").at(-1);
// What tells the members of a union apart: `op` for frames, `kind` for signals. Other structures may have fields of
// these names, but not with a single allowed value.
const TAG_FIELDS = { op: "Frame", kind: "Signal" };
const tagFieldOf = ({ properties }) =>
  Object.keys(TAG_FIELDS).find((field) => properties[field]?.enum?.length === 1);
const tagOf = (definition) => definition.properties[tagFieldOf(definition)]?.enum[0];
// `Error` would hide JavaScript's own.
const typeName = (name) => `${name}${TAG_FIELDS[tagFieldOf(definitions[name])] ?? ""}`;

const members = (union) => union.anyOf.map((item) => nameOf(item.$ref));
const clientFrames = members(schema.ClientFrame);
const serverFrames = members(schema.ServerFrame);
const clientSignals = members(schema.ClientSignal);
const sfuSignals = members(schema.SfuSignal);
const groupRequests = members(schema.GroupRequest);
const groupSignals = members(schema.GroupSignal);
const peerSignals = members(schema.PeerSignal);

function tsType(node) {
  if (node.$ref) return typeName(nameOf(node.$ref));
  if (node.anyOf) return node.anyOf.map(tsType).join(" | ");
  if (node.enum) return node.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (node.type === "string") return node.contentEncoding === "base64" ? "Uint8Array" : "string";
  if (node.type === "integer" || node.type === "number") return "number";
  if (node.type === "boolean") return "boolean";
  if (node.type === "null") return "null";
  if (node.type === "array") {
    const item = tsType(node.items ?? {});
    return `readonly ${item.includes(" ") ? `(${item})` : item}[]`;
  }
  if (node.type === "object") return "Readonly<Record<string, unknown>>";
  return "unknown";
}

function shape(node) {
  if (node.$ref) return nameOf(node.$ref);
  if (node.anyOf) return shapeOfUnion(node.anyOf);
  if (node.enum) return `literal(${node.enum.map((value) => JSON.stringify(value)).join(", ")})`;
  if (node.type === "string" && node.contentEncoding === "base64") return "bytes";
  if (node.type === "string") return call("text", [node.minLength, node.maxLength], [0, undefined]);
  if (node.type === "integer") return call("integer", [node.minimum, node.maximum], [undefined, MAX_SAFE]);
  if (node.type === "number") return "number";
  if (node.type === "boolean") return "flag";
  if (node.type === "array") return `list(${shape(node.items ?? {})})`;
  if (node.type === "object") return "object";
  if (node.type === undefined) return "anything";
  throw new Error(`No shape for ${JSON.stringify(node)}.`);
}

function shapeOfUnion(options) {
  const others = options.filter((option) => option.type !== "null");
  if (others.length === 1 && options.length === 2) return `nullable(${shape(others[0])})`;
  const [textual, object] = others;
  if (others.length === 2 && textual.type === "string" && object.$ref) {
    return `textOr(${shape(textual)}, ${shape(object)})`;
  }
  throw new Error(`No shape for ${JSON.stringify(options)}.`);
}

/** A call with the arguments that differ from their defaults, as far as the last of them. */
function call(name, given, defaults) {
  const values = given.map((value, index) => value ?? defaults[index]);
  while (values.length && values.at(-1) === defaults[values.length - 1]) values.pop();
  return `${name}(${values.map((value) => (value === undefined ? "undefined" : digits(value))).join(", ")})`;
}

const digits = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "_");

function initial(node) {
  const value = node.default;
  if (node.contentEncoding === "base64") return `() => new Uint8Array(0)`;
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return "() => ({})";
  return `() => ${JSON.stringify(value)}`;
}

function field(definition, name) {
  const node = definition.properties[name];
  if (definition.required?.includes(name)) return `required(${shape(node)})`;
  return "default" in node ? `optional(${shape(node)}, ${initial(node)})` : `optional(${shape(node)})`;
}

/** The named structures and all they refer to, every one behind those it refers to. */
function ordered(roots) {
  const done = new Set();
  const visit = (name) => {
    if (done.has(name)) return;
    for (const match of JSON.stringify(definitions[name]).matchAll(/"\$ref":"[^"]*\/(\w+)"/g)) {
      if (match[1] !== name) visit(match[1]);
    }
    done.add(name);
  };
  for (const name of roots) visit(name);
  return [...done];
}

function comment(text, indent = "") {
  if (!text) return "";
  const lines = text.split("\n").map((line) => line.trimEnd());
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} *${line ? ` ${line}` : ""}\n`).join("")}${indent} */\n`;
}

/** Structures that are only part of what is sent. */
const SENT_PARTS = ["Resume", "OfferedTrack", "Seen"];

function interfaceOf(name) {
  const definition = definitions[name];
  // A decoded frame has its defaults filled in; a frame to be sent may leave them out.
  const isSent = [...clientFrames, ...clientSignals, ...groupRequests, ...SENT_PARTS].includes(name);
  const tagField = tagFieldOf(definition);
  const fields = Object.entries(definition.properties).map(([key, node]) => {
    const isThere = definition.required?.includes(key) || ("default" in node && !isSent);
    const type = key === tagField ? JSON.stringify(tagOf(definition)) : tsType(node);
    return `${comment(node.description, "  ")}  readonly ${key}${isThere ? "" : "?"}: ${type};\n`;
  });
  return `${comment(definition.description)}export interface ${typeName(name)} {\n${fields.join("")}}\n`;
}

function union(name, members) {
  return (
    `export type ${name} =\n${members.map((member) => `  | ${typeName(member)}\n`).join("")}`.trimEnd() +
    ";\n"
  );
}

function interfaces(roots) {
  return ordered(roots).map(interfaceOf).join("\n");
}

function framesText() {
  const parts = [
    NOTICE,
    interfaces([...clientFrames, ...serverFrames]),
    union("ClientFrame", clientFrames),
    union("ServerFrame", serverFrames),
    "export type AnyFrame = ClientFrame | ServerFrame;\n",
  ];
  return parts.join("\n");
}

function signalsText() {
  const parts = [
    NOTICE,
    interfaces([...clientSignals, ...sfuSignals]),
    union("ClientSignal", clientSignals),
    union("SfuSignal", sfuSignals),
  ];
  return parts.join("\n");
}

function groupsText() {
  // What both kinds of signals are made of is declared once, in signals.gen.ts.
  const known = new Set(ordered([...clientSignals, ...sfuSignals]));
  const roots = [...groupRequests, ...groupSignals, ...peerSignals];
  const shared = ordered(roots).filter((name) => known.has(name));
  const parts = [
    NOTICE,
    `import type { ${shared.map(typeName).join(", ")} } from "./signals.gen";\n`,
    ordered(roots)
      .filter((name) => !known.has(name))
      .map(interfaceOf)
      .join("\n"),
    union("GroupRequest", groupRequests),
    union("GroupSignal", groupSignals),
    union("PeerSignal", peerSignals),
  ];
  return parts.join("\n");
}

const PIECES = [
  ...[
    "anything",
    "bytes",
    "flag",
    "integer",
    "list",
    "literal",
    "nullable",
    "number",
    "object",
    "optional",
    "required",
  ],
  ...["type Shape", "struct", "text", "textOr"],
];

/** The shapes of these tables' members, `{ TABLE: names }`. */
function shapesText(tables) {
  const structs = ordered(Object.values(tables).flat()).map((name) => {
    const definition = definitions[name];
    const tagField = tagFieldOf(definition);
    const names = Object.keys(definition.properties).filter((key) => key !== tagField);
    const body = names.map((key) => `  ${key}: ${field(definition, key)},\n`).join("");
    const tag = JSON.stringify(tagOf(definition) ?? null);
    const last = (tagField ?? "op") === "op" ? "" : `, ${JSON.stringify(tagField)}`;
    return `const ${name} = struct(${tag}, ${body ? `{\n${body}}` : "{}"}${last});\n`;
  });
  const table = ([name, entries]) =>
    `export const ${name}: Readonly<Record<string, Shape>> = {\n` +
    `${entries.map((entry) => `  ${tagOf(definitions[entry])}: ${entry},\n`).join("")}};\n`;
  const body = structs.join("\n");
  // A name before a colon is a field's.
  const used = PIECES.filter((piece) => new RegExp(`\\b${piece}\\b(?!:)`).test(`${body} type Shape`));
  const header = `import {\n${used.map((piece) => `  ${piece},\n`).join("")}} from "./shape";\n`;
  return [NOTICE, header, body, ...Object.entries(tables).map(table)].join("\n");
}

function errorsText() {
  const rows = Object.entries(schema.errors).map(
    ([code, row]) => `  ${code}: [${row.is_retryable}, ${row.close_code}, ${JSON.stringify(row.meaning)}],\n`,
  );
  return `${NOTICE}
/** Of each code: whether a retry can help, the close code, and what it means. */
export const ERRORS = {
${rows.join("")}} as const satisfies Record<string, readonly [boolean, number, string]>;
`;
}

function constantsText() {
  const lines = Object.entries(schema.constants).map(
    ([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`,
  );
  return `${NOTICE}// What each is for is said in protocol/groups.py, messages.py and signals.py.\n\n${lines.join("")}`;
}

const outputs = {
  "constants.gen.ts": constantsText(),
  "errors.gen.ts": errorsText(),
  "frames.gen.ts": framesText(),
  "shapes.gen.ts": shapesText({ CLIENT_FRAMES: clientFrames, SERVER_FRAMES: serverFrames }),
  "signals.gen.ts": signalsText(),
  "signal-shapes.gen.ts": shapesText({ CLIENT_SIGNALS: clientSignals, SFU_SIGNALS: sfuSignals }),
  "groups.gen.ts": groupsText(),
  "group-shapes.gen.ts": shapesText({ GROUP_SIGNALS: groupSignals, PEER_SIGNALS: peerSignals }),
};
const isCheck = process.argv.includes("--check");
for (const [name, text] of Object.entries(outputs)) {
  const file = new URL(name, folder);
  if (!isCheck) writeFileSync(file, text);
  else if (readFileSync(file, "utf8") !== text) {
    console.error(`${name} does not follow from schema.json; run: node scripts/generate-protocol.mjs`);
    process.exitCode = 1;
  }
}
