/** What the server's word on a group means for a member. */
import { beforeEach, describe, expect, test } from "vitest";
import { GROUP_SIGNALS } from "../../src/sdk/protocol/group-shapes.gen";
import type {
  GroupMember,
  GroupProposal,
  GroupStateSignal,
  ProposalEndedSignal,
} from "../../src/sdk/protocol/groups.gen";
import { type GroupChange, GroupFollower } from "../../src/sdk/webrtc/group-follower";
import { vector } from "../vectors";

const member = (identity: string, order: number): GroupMember => ({
  identity,
  name: identity,
  order,
  modes: ["mesh", "relay"],
  has_media: false,
});
const ANN = member("ann", 1);
const BOB = member("bob", 2);
const CYD = member("cyd", 3);

const state = (version: number, changes: Partial<GroupStateSignal> = {}): GroupStateSignal => ({
  kind: "group",
  version,
  term: 5,
  mode: "mesh",
  is_auto: false,
  reason: "first",
  members: [ANN, BOB],
  is_gathering: false,
  ...changes,
});

const proposal = (changes: Partial<GroupProposal> = {}): GroupProposal => ({
  mode: "relay",
  term: 10,
  by: "bob",
  reason: "proposed",
  waits_ms: 8_000,
  ...changes,
});

/** "joined bob", "mode mesh": enough of a change to compare. */
function gist(change: GroupChange): string {
  if ("member" in change) return `${change.change} ${change.member.identity}`;
  if (change.change === "mode") return `mode ${change.mode} ${change.term}`;
  if (change.change === "proposed") return `proposed ${change.proposal.mode}`;
  if (change.change === "ended") return `ended ${change.term} ${change.why?.code ?? "unknown"}`;
  return change.change === "host" ? `host ${change.host?.identity}` : change.change;
}

let follower: GroupFollower;
const told = (signal: GroupStateSignal): string[] => follower.told(signal, "ann").map(gist);

beforeEach(() => {
  follower = new GroupFollower();
});

describe("members", () => {
  test("come and go, and the same word twice means nothing", () => {
    expect(told(state(1))).toEqual(["entered", "joined bob", "mode mesh 5"]);
    expect(told(state(1))).toEqual([]);
    expect(told(state(2, { members: [ANN, BOB, CYD] }))).toEqual(["joined cyd"]);
    expect(told(state(3, { members: [ANN, CYD] }))).toEqual(["left bob"]);
    expect([...follower.others.keys()]).toEqual(["cyd"]);
  });

  test("an older word counts for nothing, nor one of a group without this member", () => {
    told(state(3, { members: [ANN, BOB, CYD] }));
    expect(told(state(2))).toEqual([]);
    expect(told(state(4, { members: [BOB] }))).toEqual([]);
    expect([...follower.others.keys()]).toEqual(["bob", "cyd"]);
  });

  test("under another order one has begun anew", () => {
    told(state(1));
    expect(told(state(2, { members: [ANN, member("bob", 9)] }))).toEqual(["left bob", "joined bob"]);
    expect(told(state(3, { members: [member("ann", 12), member("bob", 9)] }))).toEqual([
      "left bob",
      "entered",
      "joined bob",
    ]);
    expect(follower.ownOrder).toBe(12);
  });

  test("nobody is gone while the server gathers them anew", () => {
    told(state(1, { members: [ANN, BOB, CYD] }));
    expect(told(state(2, { members: [ANN, CYD], is_gathering: true }))).toEqual([]);
    expect(told(state(3, { members: [ANN, CYD] }))).toEqual(["left bob"]);
  });

  test("what was seen is told to a server that forgot", () => {
    expect(follower.seen).toBeUndefined();
    told(state(1, { is_auto: true, host: { identity: "bob", term: 7 } }));
    expect(follower.seen).toEqual({
      term: 5,
      mode: "mesh",
      is_auto: true,
      order: 1,
      host: { identity: "bob", term: 7 },
    });
    expect(follower.out().map(gist)).toEqual(["left bob"]);
    expect(follower.seen).toBeUndefined();
  });
});

describe("a proposal", () => {
  beforeEach(() => {
    told(state(1));
  });

  test("is built, and holds", () => {
    expect(told(state(2, { proposal: proposal() }))).toEqual(["proposed relay"]);
    expect(told(state(3, { proposal: proposal({ waits_ms: 7_000 }) }))).toEqual([]);
    expect(told(state(4, { term: 10, mode: "relay" }))).toEqual(["mode relay 10"]);
  });

  const ended = { kind: "proposal_ended", term: 10, mode: "relay", code: "vetoed", reason: "no" } as const;

  test("comes to nothing, whichever of the two is told first", () => {
    told(state(2, { proposal: proposal() }));
    expect(follower.ended({ ...ended, term: 9 })).toEqual([]);
    expect(follower.ended(ended).map(gist)).toEqual(["ended 10 vetoed"]);
    expect(told(state(3))).toEqual([]);
    told(state(4, { proposal: proposal({ term: 12 }) }));
    expect(told(state(5))).toEqual([]);
    expect(follower.ended({ ...ended, term: 12 }).map(gist)).toEqual(["ended 12 vetoed"]);
  });

  test("is given up where the word on its end was lost", () => {
    told(state(2, { proposal: proposal() }));
    expect(told(state(3))).toEqual([]);
    expect(told(state(4))).toEqual(["ended 10 unknown"]);
    told(state(5, { proposal: proposal({ term: 12 }) }));
    expect(told(state(6, { proposal: proposal({ term: 14, mode: "sfu" }) }))).toEqual([
      "ended 12 unknown",
      "proposed sfu",
    ]);
    expect(told(state(7, { term: 16, mode: "relay" }))).toEqual(["ended 14 unknown", "mode relay 16"]);
  });

  test("another host is told of", () => {
    expect(told(state(2, { host: { identity: "bob", term: 7 } }))).toEqual(["host bob"]);
    expect(told(state(3, { host: { identity: "bob", term: 7, successor: "ann" } }))).toEqual([]);
    expect(told(state(4, { host: { identity: "bob", term: 9 } }))).toEqual(["host bob"]);
    expect(told(state(5))).toEqual(["host undefined"]);
  });
});

describe("the transcripts", () => {
  type Json = Readonly<Record<string, unknown>>;
  interface Transcript {
    readonly name: string;
    readonly identity: string;
    readonly steps: readonly Json[];
  }

  function written(change: GroupChange): unknown {
    switch (change.change) {
      case "entered":
        return { entered: null };
      case "left":
        return { left: change.member.identity };
      case "joined":
        return { joined: change.member.identity };
      case "mode":
        return { mode: [change.mode, change.term, change.reason] };
      case "host":
        return { host: change.host ?? null };
      case "proposed":
        return { proposed: change.proposal.term };
      case "ended":
        return { ended: [change.term, change.why?.code ?? null] };
    }
  }

  function play(one: GroupFollower, step: Json, identity: string): GroupChange[] {
    const signal = step["signal"] as Json | undefined;
    const read = GROUP_SIGNALS[String(signal?.["kind"])]?.read(signal, "signal", "json");
    if (step["do"] === "group") return one.told(read as GroupStateSignal, identity);
    if (step["do"] === "ended") return one.ended(read as ProposalEndedSignal);
    return one.out();
  }

  test.each(vector<Transcript[]>("peers/group.json"))("$name", (transcript) => {
    const one = new GroupFollower();
    for (const step of transcript.steps) {
      const identity = (step["identity"] as string | undefined) ?? transcript.identity;
      const changes = play(one, step, identity).map(written);
      const seen = { changes, seen: one.seen };
      expect(seen, JSON.stringify(step)).toEqual({ changes: step["changes"] ?? [], seen: step["seen"] });
    }
  });
});
