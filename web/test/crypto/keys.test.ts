/** Runs `tests/vectors/identity/password_keys.json`: what both SDKs derive from a password. */
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/sdk/crypto/bytes";
import { deriveKey, joinToken, type KeyLabel, kdfSalt, rootSecret } from "../../src/sdk/crypto/keys";
import { channelId } from "../../src/sdk/protocol/channel";
import { vector } from "../vectors";

interface KeyCase {
  readonly name: string;
  readonly password: string;
  readonly salt_hex: string;
  readonly root_hex: string;
  readonly keys_hex: Readonly<Record<KeyLabel, string>>;
  readonly open_channel_id_hex: string;
}

const { cases } = vector<{ cases: KeyCase[] }>("identity/password_keys.json");

describe("keys from a password", () => {
  test.each(cases)("channel $name", async (one) => {
    expect(toHex(kdfSalt(one.name))).toBe(one.salt_hex);
    const root = await rootSecret(one.name, one.password);
    expect(toHex(root)).toBe(one.root_hex);
    const labels = Object.keys(one.keys_hex) as KeyLabel[];
    const keys = labels.map((label) => [label, toHex(deriveKey(root, label))]);
    expect(Object.fromEntries(keys)).toEqual(one.keys_hex);
    const token = await joinToken(one.name, one.password);
    expect(toHex(token)).toBe(one.keys_hex.join);
    expect(toHex(channelId(one.name, "open", token))).toBe(one.open_channel_id_hex);
  });

  test("without a password nothing is derived", async () => {
    expect(await joinToken("lobby", "")).toEqual(new Uint8Array(0));
  });

  test("the same pair is derived once", () => {
    const [first] = cases;
    if (!first) throw new Error("no vectors");
    expect(rootSecret(first.name, first.password)).toBe(rootSecret(first.name, first.password));
  });
});
