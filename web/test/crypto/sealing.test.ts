/** Runs `tests/vectors/sealing`: keys, envelopes and refusals, by WebCrypto and by the libraries that stand in for it. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { concat, fromHex, toHex, utf8 } from "../../src/sdk/crypto/bytes";
import { packAttributes, packInside } from "../../src/sdk/crypto/inside";
import { deriveKey, joinToken, rootSecret } from "../../src/sdk/crypto/keys";
import { openAttributes, openMessage } from "../../src/sdk/crypto/opening";
import {
  associatedData,
  COUNTER_END,
  type Context,
  type SealClass,
  Sealer,
  SealingKeys,
} from "../../src/sdk/crypto/sealing";
import { channelId } from "../../src/sdk/protocol/channel";
import { vector } from "../vectors";

interface Channel {
  readonly message_key_hex: string;
  readonly channel_id_hex: string;
  readonly receiver_session_hex: string;
}

interface Inside {
  readonly content?: unknown;
  readonly binary_hex?: string;
  readonly metadata?: Record<string, unknown>;
  readonly attributes?: Record<string, unknown>;
}

interface EnvelopeCase {
  readonly why: string;
  readonly class: SealClass;
  readonly crypto_session_hex: string;
  readonly counter: number;
  readonly recipients_hex: readonly string[];
  readonly context: Context;
  readonly inside: Inside;
  readonly plaintext_hex: string;
  readonly aad_hex: string;
  readonly envelope_hex: string;
  readonly retry_tag_hex?: string;
}

interface RefusedCase {
  readonly why: string;
  readonly class: SealClass;
  readonly context: Context;
  readonly envelope_hex: string;
  readonly code: string;
}

interface KeyCase {
  readonly name: string;
  readonly password: string;
  readonly message_key_hex: string;
  readonly channel_id_hex: string;
  readonly safety_number: string;
}

const envelopes = vector<Channel & { cases: EnvelopeCase[] }>("sealing/envelopes.json");
const refusals = vector<Channel & { cases: RefusedCase[]; bit_flips: Omit<RefusedCase, "code"> }>(
  "sealing/refused.json",
);
const { cases: keyCases } = vector<{ cases: KeyCase[] }>("sealing/keys.json");

function keysOf(channel: Channel): SealingKeys {
  return new SealingKeys(fromHex(channel.message_key_hex), fromHex(channel.channel_id_hex));
}

/** What is inside, in the form of the vectors. */
async function opened(
  keys: SealingKeys,
  sealClass: SealClass,
  envelope: Uint8Array,
  context: Context,
  announced: Uint8Array,
): Promise<unknown> {
  if (sealClass === "attributes") {
    const session = envelope.slice(5, 21);
    return { attributes: (await openAttributes(keys, envelope, context.sender, session)).inside };
  }
  const { binary, ...inside } = (await openMessage(keys, sealClass, envelope, context, announced)).inside;
  return binary === undefined ? inside : { ...inside, binary_hex: toHex(binary) };
}

function packed({ binary_hex, attributes, ...inside }: Inside): string {
  if (attributes) return toHex(packAttributes(attributes));
  return toHex(packInside(binary_hex === undefined ? inside : { ...inside, binary: fromHex(binary_hex) }));
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("keys of a sealed channel", () => {
  test.each(keyCases)("channel $name", async (one) => {
    const token = await joinToken(one.name, one.password);
    const messageKey = deriveKey(await rootSecret(one.name, one.password), "message");
    const id = channelId(one.name, "sealed", token);
    expect(toHex(messageKey)).toBe(one.message_key_hex);
    expect(toHex(id)).toBe(one.channel_id_hex);
    expect(new SealingKeys(messageKey, id).safetyNumber).toBe(one.safety_number);
  });
});

describe.each(["WebCrypto", "without it"])("envelopes, %s", (where) => {
  function keys(channel: Channel): SealingKeys {
    if (where === "without it") {
      vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    }
    return keysOf(channel);
  }

  test.each(envelopes.cases)("$why", async (one) => {
    const sealing = keys(envelopes);
    const plaintext = fromHex(one.plaintext_hex);
    expect(packed(one.inside)).toBe(one.plaintext_hex);
    const session = fromHex(one.crypto_session_hex);
    const recipients = one.recipients_hex.map(fromHex);
    const envelope = await sealing.encrypt(
      one.class,
      session,
      one.counter,
      plaintext,
      one.context,
      recipients,
    );
    expect(toHex(envelope)).toBe(one.envelope_hex);
    const header = envelope.slice(0, 30 + 16 * recipients.length);
    expect(toHex(associatedData(fromHex(envelopes.channel_id_hex), one.class, header, one.context))).toBe(
      one.aad_hex,
    );
    const receiver = fromHex(envelopes.receiver_session_hex);
    expect(await opened(sealing, one.class, envelope, one.context, receiver)).toEqual(one.inside);
    const { idempotency_key: key } = one.context;
    if (one.retry_tag_hex !== undefined && key !== undefined) {
      expect(toHex(await sealing.retryTag(key, plaintext))).toBe(one.retry_tag_hex);
    }
  });

  test.each(refusals.cases)("refused: $why", async (one) => {
    const sealing = keys(refusals);
    const receiver = fromHex(refusals.receiver_session_hex);
    const opening = opened(sealing, one.class, fromHex(one.envelope_hex), one.context, receiver);
    await expect(opening).rejects.toMatchObject({ code: one.code });
  });

  test("refused: any bit that is another, any end that is missing", async () => {
    const sealing = keys(refusals);
    const { class: sealClass, context, envelope_hex } = refusals.bit_flips;
    const receiver = fromHex(refusals.receiver_session_hex);
    const good = fromHex(envelope_hex);
    await opened(sealing, sealClass, good, context, receiver);
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const bad = good.slice();
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const code = bit < 8 ? "not_supported" : bit < 40 ? "wrong_key" : "tampered";
      await expect(opened(sealing, sealClass, bad, context, receiver)).rejects.toMatchObject({ code });
    }
    for (let length = 0; length < good.length; length++) {
      const cut = opened(sealing, sealClass, good.slice(0, length), context, receiver);
      await expect(cut).rejects.toMatchObject({ code: "tampered" });
    }
  });
});

describe("the counters of a sender", () => {
  const context = { sender: "alice" };

  /** Crypto-session and counter of an envelope. */
  function place(envelope: Uint8Array): [number | undefined, number] {
    return [envelope[5], Number(new DataView(envelope.buffer).getBigUint64(21))];
  }

  test("are one for each class, and are taken in the order of the calls", async () => {
    let made = 0;
    const sealer = new Sealer(keysOf(envelopes), () => new Uint8Array(16).fill(++made));
    const plaintext = utf8("x");
    const sealed = ["durable", "live", "durable", "attributes", "lossy", "durable"] as const;
    const all = await Promise.all(sealed.map((one) => sealer.seal(one, plaintext, context)));
    expect(all.map(place)).toEqual([
      [1, 0],
      [1, 0],
      [1, 1],
      [1, 0],
      [1, 0],
      [1, 2],
    ]);
    expect(sealer.announced).toEqual(new Uint8Array(16).fill(1));
  });

  test("begin anew in another crypto-session at their end, those of attributes excepted", async () => {
    let made = 0;
    const sealer = new Sealer(keysOf(envelopes), () => new Uint8Array(16).fill(++made));
    const counters = (sealer as unknown as { counters: Record<SealClass, number> }).counters;
    counters.live = COUNTER_END;
    counters.durable = 7;
    const sealed = ["durable", "live", "durable", "attributes"] as const;
    const all = await Promise.all(sealed.map((one) => sealer.seal(one, utf8("x"), context)));
    expect(all.map(place)).toEqual([
      [1, 7],
      [2, 0],
      [2, 0],
      [1, 0],
    ]);
    expect(sealer.announced).toEqual(new Uint8Array(16).fill(1));
  });

  test("are taken by a message that cannot be sealed, too", async () => {
    const sealer = new Sealer(keysOf(envelopes), () => new Uint8Array(16));
    const many = Array.from({ length: 256 }, () => new Uint8Array(16));
    const toMany = { ...context, to: ["bob"] };
    expect(() => sealer.seal("live", utf8("x"), toMany, many)).toThrow(
      expect.objectContaining({ code: "too_large" }),
    );
    expect(place(await sealer.seal("live", utf8("x"), context))[1]).toBe(1);
  });

  test("two connections never have a key in common", async () => {
    const seal = (): Promise<Uint8Array> =>
      new Sealer(keysOf(envelopes), () => crypto.getRandomValues(new Uint8Array(16))).seal(
        "durable",
        concat(utf8("the same")),
        context,
      );
    const [one, two] = await Promise.all([seal(), seal()]);
    expect(toHex(one.slice(30))).not.toBe(toHex(two.slice(30)));
  });
});
