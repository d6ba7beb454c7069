/** Runs `tests/vectors/identity` on names, channel ids and lineages. */
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/sdk/crypto/bytes";
import {
  channelId,
  checkAgentName,
  checkChannelName,
  lineage,
  lineageIdentity,
  type Mode,
} from "../../src/sdk/protocol/channel";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { vector } from "../vectors";

interface NameCase {
  readonly why: string;
  readonly kind: "channel" | "agent";
  readonly input: string;
  readonly name?: string;
  readonly code?: string;
}

const CHECKS = { channel: checkChannelName, agent: checkAgentName };
const names = vector<{ accepted: NameCase[]; rejected: NameCase[] }>("identity/names.json");

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return undefined;
}

describe("names", () => {
  test.each(names.accepted)("$kind accepted: $why", ({ kind, input, name }) => {
    expect(CHECKS[kind](input)).toBe(name);
  });

  test.each(names.rejected)("$kind rejected: $why", ({ kind, input, code }) => {
    expect(codeOf(() => CHECKS[kind](input))).toBe(code);
  });
});

describe("ids", () => {
  interface IdCase {
    readonly name: string;
    readonly mode: Mode;
    readonly join_token_hex: string;
    readonly channel_id_hex: string;
  }
  const { cases } = vector<{ cases: IdCase[] }>("identity/channel_ids.json");

  test.each(cases)("channel $name, $mode", ({ name, mode, join_token_hex, channel_id_hex }) => {
    expect(toHex(channelId(name, mode, fromHex(join_token_hex)))).toBe(channel_id_hex);
  });

  test("a join token of another length is refused", () => {
    expect(codeOf(() => channelId("lobby", "open", new Uint8Array(31)))).toBe("bad_request");
  });

  interface LineageCase {
    readonly secret_hex: string;
    readonly lineage_hex: string;
    readonly identity: string;
  }
  const { lineages } = vector<{ lineages: LineageCase[] }>("identity/lineages.json");

  test.each(lineages)("lineage of $secret_hex", ({ secret_hex, lineage_hex, identity }) => {
    const hash = lineage(fromHex(secret_hex));
    expect(toHex(hash)).toBe(lineage_hex);
    expect(lineageIdentity(hash)).toBe(identity);
  });

  test("a lineage secret of another length is refused", () => {
    expect(codeOf(() => lineage(new Uint8Array(15)))).toBe("bad_request");
  });
});
