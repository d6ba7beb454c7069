/** The signals of a group that clients read: `tests/vectors/groups`, which pytest runs, too. */
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { GROUP_SIGNALS, PEER_SIGNALS } from "../../src/sdk/protocol/group-shapes.gen";
import { vector } from "../vectors";

interface Case {
  readonly name: string;
  readonly union: string;
  readonly content: { readonly kind: string };
  readonly value?: unknown;
}

const VECTORS = vector<{ readonly accepted: Case[]; readonly rejected: Case[] }>("groups/signals.json");
const UNIONS = { GroupSignal: GROUP_SIGNALS, PeerSignal: PEER_SIGNALS };

const ofClients = (cases: Case[]) => cases.filter(({ union }) => union in UNIONS);
const shapeOf = ({ union, content }: Case) => UNIONS[union as keyof typeof UNIONS][content.kind];

describe("group signals", () => {
  test.each(ofClients(VECTORS.accepted))("reads and writes: $name", (given) => {
    const shape = shapeOf(given);
    const value = shape?.read(given.content, "signal", "json");
    expect(value).toEqual(given.value);
    expect(shape?.read(shape.write(value, "json"), "signal", "json")).toEqual(given.value);
  });

  test.each(ofClients(VECTORS.rejected))("refuses: $name", (given) => {
    expect(() => shapeOf(given)?.read(given.content, "signal", "json")).toThrow(ProtocolError);
  });
});
