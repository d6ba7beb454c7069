/** From announcements to tracks that begin and end. */
import { beforeEach, describe, expect, test } from "vitest";
import type { Publication, SlotsSignal } from "../../src/sdk/protocol/signals.gen";
import { FIRST_SLOTS, MOST_SLOTS, Reception } from "../../src/sdk/webrtc/reception";

let reception: Reception;
let version: number;

beforeEach(() => {
  reception = new Reception();
  reception.begin();
  version = 0;
});

function publication(id: string, changes: Partial<Publication> = {}): Publication {
  const participant = id.split("/")[0] ?? "";
  return {
    publication: id,
    participant,
    name: participant.toUpperCase(),
    media: "video",
    source: "camera",
    is_muted: false,
    is_sealed: false,
    ...changes,
  };
}

function publish(publications: readonly Publication[], { term = 1, callers = ["me", "ann", "bob"] } = {}) {
  version += 1;
  return reception.published({
    kind: "publications",
    term,
    version,
    publications,
    callers: callers.map((identity) => ({ identity, name: identity.toUpperCase() })),
  });
}

function bind(bindings: Record<string, string | undefined>, wanting = 0) {
  version += 1;
  const signal: SlotsSignal = {
    kind: "slots",
    connection: "c1",
    version,
    wanting,
    bindings: Object.entries(bindings).map(([mid, id]) =>
      id === undefined ? { mid } : { mid, publication: id },
    ),
  };
  return reception.bound(signal);
}

const kinds = (events: readonly { readonly event: string }[]) => events.map(({ event }) => event);

describe("peers", () => {
  test("are all in the call but oneself, with what they publish", () => {
    expect(kinds(publish([publication("ann/cam", { is_muted: true }), publication("me/cam")]))).toEqual([
      "peers",
    ]);
    expect(reception.peers("me")).toEqual([
      {
        identity: "ann",
        name: "ANN",
        publications: [
          {
            id: "ann/cam",
            identity: "ann",
            name: "ANN",
            media: "video",
            source: "camera",
            isMuted: true,
            isSealed: false,
          },
        ],
      },
      { identity: "bob", name: "BOB", publications: [] },
    ]);
  });

  test("publish under their own names alone", () => {
    const names = { participant: "ann", name: "ANN" };
    publish([
      publication("ann/cam"),
      publication("ann/screen", { name: "BOB" }),
      publication("bob/cam", names),
      publication("bob/screen", { ...names, name: "BOB" }),
      publication("eve/cam", { name: "E" }),
      publication("eve/screen", { name: "F" }),
    ]);
    const shown = reception
      .peers("me")
      .map(({ name, publications }) => [name, publications.map(({ id }) => id)]);
    expect(shown).toEqual([
      ["ANN", ["ann/cam"]],
      ["BOB", []],
      ["E", ["eve/cam"]],
    ]);
    expect(kinds(bind({ "4": "bob/cam", "5": "ann/cam" }))).toEqual(["started"]);
  });

  test("who publish are in the call, named among the callers or not", () => {
    publish([publication("eve/cam")], { callers: [] });
    expect(reception.peers("me").map(({ name }) => name)).toEqual(["EVE"]);
  });

  test("are not taken from an older announcement; a new term counts anew", () => {
    version = 5;
    publish([publication("ann/cam")]);
    version = 2;
    expect(publish([])).toEqual([]);
    expect(reception.peers("me")[0]?.publications).toHaveLength(1);
    version = 0;
    expect(kinds(publish([], { term: 2 }))).toEqual(["peers"]);
    expect(reception.peers("me")[0]?.publications).toHaveLength(0);
  });
});

describe("tracks", () => {
  test("begin when a slot carries a publication that is known, whichever is told first", () => {
    publish([publication("ann/cam")]);
    expect(bind({ 4: "ann/cam", 5: undefined })).toEqual([
      { event: "started", mid: "4", publication: expect.objectContaining({ id: "ann/cam" }) },
    ]);
    expect(reception.carriedBy("4")?.id).toBe("ann/cam");
    expect(reception.carriedBy("5")).toBeUndefined();
    expect(bind({ 4: "ann/cam", 5: "bob/cam" })).toEqual([]);
    expect(kinds(publish([publication("ann/cam"), publication("bob/cam")]))).toEqual(["peers", "started"]);
  });

  test("end before another takes their slot", () => {
    publish([publication("ann/cam"), publication("bob/cam")]);
    bind({ 4: "ann/cam" });
    expect(bind({ 4: "bob/cam" })).toEqual([
      { event: "ended", id: "ann/cam" },
      expect.objectContaining({ event: "started", mid: "4" }),
    ]);
    expect(kinds(publish([]))).toEqual(["peers", "ended"]);
    expect(kinds(bind({}))).toEqual([]);
  });

  test("move to another slot", () => {
    publish([publication("ann/cam")]);
    bind({ 4: "ann/cam" });
    expect(bind({ 5: "ann/cam" })).toEqual([expect.objectContaining({ event: "moved", mid: "5" })]);
  });

  test("live through a new connection that carries them, and end with one that does not", () => {
    publish([publication("ann/cam"), publication("bob/cam")]);
    bind({ 4: "ann/cam", 5: "bob/cam" });
    reception.begin();
    expect(kinds(publish([publication("ann/cam"), publication("bob/cam")]))).toEqual(["peers"]);
    version = 0;
    expect(bind({ 4: "ann/cam" })).toEqual([
      { event: "ended", id: "bob/cam" },
      expect.objectContaining({ event: "moved", mid: "4" }),
    ]);
  });

  test("are not taken from older bindings", () => {
    publish([publication("ann/cam")]);
    bind({ 4: "ann/cam" });
    version = 0;
    expect(bind({})).toEqual([]);
    expect(reception.carriedBy("4")).toBeDefined();
  });

  test("all end with the call", () => {
    publish([publication("ann/cam")]);
    bind({ 4: "ann/cam" });
    expect(reception.finish()).toEqual([{ event: "ended", id: "ann/cam" }, { event: "peers" }]);
    expect(reception.peers("me")).toEqual([]);
    expect(reception.finish()).toEqual([]);
  });
});

describe("slots", () => {
  const many = (count: number, media: "audio" | "video") =>
    Array.from({ length: count }, (_, at) => publication(`p${at}/${media}`, { media }));

  test("are doubled until all publications of others have one", () => {
    publish([...many(5, "video"), ...many(2, "audio"), publication("me/cam")]);
    expect(reception.slotsWanted(FIRST_SLOTS, "me")).toEqual(FIRST_SLOTS);
    bind({}, 1);
    expect(reception.slotsWanted(FIRST_SLOTS, "me")).toEqual({ video: 8, audio: 2 });
    expect(reception.slotsWanted({ video: 8, audio: 0 }, "me")).toEqual({ video: 8, audio: 2 });
  });

  test("are not more than a connection should have", () => {
    publish([...many(99, "video"), ...many(99, "audio")]);
    bind({}, 90);
    expect(reception.slotsWanted(FIRST_SLOTS, "me")).toEqual(MOST_SLOTS);
    expect(reception.slotsWanted(MOST_SLOTS, "me")).toEqual(MOST_SLOTS);
  });
});
