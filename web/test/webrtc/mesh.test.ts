/** The negotiation of one link: both sides as machines, with the test as the browser and the network between them. */
import { beforeEach, describe, expect, test } from "vitest";
import { LINK_WITHIN_MS } from "../../src/sdk/protocol/group";
import { PEER_SIGNALS } from "../../src/sdk/protocol/group-shapes.gen";
import type { PeerSignal } from "../../src/sdk/protocol/groups.gen";
import { MeshLink, type MeshStep, RESTART_WITHIN_MS, UNSURE_MS } from "../../src/sdk/webrtc/mesh";
import { vector } from "../vectors";

const CANDIDATE = { candidate: "c", sdpMid: "0", sdpMLineIndex: 0 };

let ids: number;
const make = (isOfferer: boolean, canRestart = true): MeshLink =>
  new MeshLink({
    isOfferer,
    canRestart,
    newId: () => {
      ids += 1;
      return `k${ids}`;
    },
  });

beforeEach(() => {
  ids = 0;
});

const names = (steps: readonly MeshStep[]): string[] =>
  steps.map((step) => (step.step === "send" ? `send ${step.signal.kind}` : step.step));

function sent(steps: readonly MeshStep[]): PeerSignal {
  const step = steps.find((one) => one.step === "send");
  if (step?.step !== "send") throw new Error(`Nothing is sent: ${names(steps)}.`);
  return step.signal;
}

/** Brings both up: the steps that each side is told on the way. */
function connect(ann: MeshLink, bob: MeshLink, nowMs = 0): { offer: PeerSignal; answer: PeerSignal } {
  bob.begin(nowMs);
  const opened = ann.begin(nowMs);
  expect(names(opened)).toEqual(["open", "offer"]);
  return finish(ann, bob, nowMs);
}

function finish(ann: MeshLink, bob: MeshLink, nowMs: number): { offer: PeerSignal; answer: PeerSignal } {
  const { link } = ann;
  const offer = sent(ann.described(link, "offer", [], false));
  expect(names(bob.signalled(offer, nowMs))).toEqual(["open", "answer"]);
  const answer = sent(bob.described(link, "answer", [], false));
  bob.applied(link);
  expect(names(ann.signalled(answer, nowMs))).toEqual(["apply"]);
  ann.applied(link);
  ann.pathIs(link, "up", nowMs);
  bob.pathIs(link, "up", nowMs);
  expect([ann.isUp, bob.isUp, ann.deadlineMs, bob.deadlineMs]).toEqual([true, true, undefined, undefined]);
  return { offer, answer };
}

describe("a link", () => {
  test("is offered by the lower order, and answered", () => {
    const { offer, answer } = connect(make(true), make(false));
    expect(offer).toEqual({
      kind: "peer_offer",
      link: "k1",
      number: 1,
      sdp: "offer",
      can_restart: true,
      is_restart: false,
      tracks: [],
    });
    expect(answer).toMatchObject({ kind: "peer_answer", link: "k1", number: 1, sdp: "answer" });
  });

  test("is not made by the other side: its offers and a stranger's answers count for nothing", () => {
    const [ann, bob] = [make(true), make(false)];
    const { offer, answer } = connect(ann, bob);
    expect(ann.signalled(offer, 1)).toEqual([]);
    expect(ann.signalled(answer, 1)).toEqual([]);
    expect(bob.signalled(offer, 1)).toEqual([]);
    expect(bob.signalled(answer, 1)).toEqual([]);
    expect(ann.signalled({ kind: "peer_close", link: "k9", reason: "" }, 1)).toEqual([]);
    expect(bob.described("k9", "late", [], false)).toEqual([]);
  });

  test("candidates wait for their description, and those of older links are dropped", () => {
    const [ann, bob] = [make(true), make(false)];
    bob.begin(0);
    ann.begin(0);
    const offer = sent(ann.described("k1", "offer", [], false));
    const candidate = sent(ann.found("k1", CANDIDATE));
    expect(candidate).toEqual({ kind: "peer_candidate", link: "k1", candidate: "c", mid: "0", line: 0 });
    const last = sent(ann.found("k1", null));
    expect(last).toEqual({ kind: "peer_candidate", link: "k1", candidate: null, mid: null, line: null });
    expect(bob.signalled(candidate, 1)).toEqual([]);
    bob.signalled(offer, 2);
    expect(bob.signalled(candidate, 3)).toEqual([]);
    expect(names(bob.applied("k1"))).toEqual(["candidate"]);
    expect(names(bob.signalled(last, 4))).toEqual(["candidate"]);
    expect(
      bob.signalled({ kind: "peer_candidate", link: "k0", candidate: "x", mid: "0", line: 0 }, 5),
    ).toEqual([]);
  });

  test("is described anew, one offer at a time, also where the answerer asks for it", () => {
    const [ann, bob] = [make(true), make(false)];
    connect(ann, bob);
    expect(names(ann.want(["audio"]))).toEqual(["offer"]);
    expect(ann.want(["audio"])).toEqual([]);
    const wanted = sent(bob.want(["video"]));
    expect(wanted).toEqual({ kind: "peer_wanted", link: "k1", media: ["video"] });
    expect(ann.signalled(wanted, 1)).toEqual([{ step: "expect", media: ["video"] }]);
    const second = sent(ann.described("k1", "offer 2", [], false));
    expect(second).toMatchObject({ number: 2 });
    expect(names(bob.signalled(second, 2))).toEqual(["answer"]);
    ann.signalled(sent(bob.described("k1", "answer 2", [], false)), 3);
    expect(names(ann.applied("k1"))).toEqual(["offer"]);
    expect(sent(ann.described("k1", "offer 3", [], false))).toMatchObject({ number: 3 });
  });
});

describe("a link that breaks", () => {
  test("is waited for, then restarted where both can, then replaced", () => {
    const [ann, bob] = [make(true), make(false)];
    connect(ann, bob);
    ann.pathIs("k1", "unsure", 100);
    expect(ann.deadlineMs).toBe(100 + UNSURE_MS);
    ann.pathIs("k1", "up", 200);
    expect(ann.deadlineMs).toBeUndefined();
    ann.pathIs("k1", "unsure", 1_000);
    const steps = ann.timePassed(1_000 + UNSURE_MS);
    expect(steps).toEqual([{ step: "offer", isRestart: true }]);
    const offer = sent(ann.described("k1", "again", [], true));
    expect(offer).toMatchObject({ number: 2, is_restart: true });
    expect(names(bob.signalled(offer, 3_000))).toEqual(["answer"]);
    const at = ann.deadlineMs ?? 0;
    expect(at).toBe(1_000 + UNSURE_MS + RESTART_WITHIN_MS);
    expect(names(ann.timePassed(at))).toEqual(["close", "open", "offer"]);
    expect(ann.link).toBe("k2");
    finish(ann, bob, at);
  });

  test("is replaced at once where one of the two can't restart", () => {
    const [ann, bob] = [make(true), make(false, false)];
    connect(ann, bob);
    expect(names(ann.pathIs("k1", "down", 500))).toEqual(["close", "open", "offer"]);
    const asked = bob.pathIs("k1", "down", 500);
    expect(names(asked)).toEqual(["close", "send peer_close", "send peer_wanted"]);
    // Both found it: the new link that is on its way will do.
    expect(names(ann.signalled(sent(asked), 510))).toEqual([]);
    expect(names(ann.signalled(sent(asked.slice(2)), 510))).toEqual(["expect"]);
    finish(ann, bob, 520);
  });

  test("is asked for by the answerer, whose word the offerer follows", () => {
    const [ann, bob] = [make(true), make(false, false)];
    connect(ann, bob);
    const asked = bob.broke("k1", 500);
    expect(names(ann.signalled(sent(asked), 510))).toEqual(["close"]);
    expect(names(ann.signalled(sent(asked.slice(2)), 510))).toEqual(["expect", "open", "offer"]);
    finish(ann, bob, 520);
  });

  test("is tried with longer and longer waits, reported after two failures, and taken back", () => {
    const ann = make(true);
    ann.begin(0);
    let nowMs = LINK_WITHIN_MS;
    expect(names(ann.timePassed(nowMs))).toEqual(["close", "open", "offer"]);
    nowMs += LINK_WITHIN_MS;
    expect(ann.timePassed(nowMs)).toEqual([{ step: "close" }, { step: "reachable", isReachable: false }]);
    expect(ann.isUnreachable).toBe(true);
    const waits: number[] = [];
    for (let count = 0; count < 6; count++) {
      const at = ann.deadlineMs ?? 0;
      waits.push(at - nowMs);
      expect(names(ann.timePassed(at))).toEqual(["open", "offer"]);
      nowMs = at + LINK_WITHIN_MS;
      expect(names(ann.timePassed(nowMs))).toEqual(["close"]);
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    expect(names(ann.wake(nowMs + 1))).toEqual(["open", "offer"]);
    expect(ann.pathIs(ann.link, "up", nowMs + 2)).toEqual([{ step: "reachable", isReachable: true }]);
    expect(ann.isUnreachable).toBe(false);
  });

  test("that the other side closed is not mended at once", () => {
    const [ann, bob] = [make(true), make(false)];
    connect(ann, bob);
    const closing = bob.close("left");
    expect(names(closing)).toEqual(["send peer_close", "close"]);
    expect(names(ann.signalled(sent(closing), 100))).toEqual(["close"]);
    expect(ann.isUp).toBe(false);
    expect(names(ann.timePassed(ann.deadlineMs ?? 0))).toEqual(["open", "offer"]);
    expect(ann.pathIs("k1", "up", 700)).toEqual([]);
    expect(bob.signalled({ kind: "peer_wanted", media: [] }, 700)).toEqual([]);
    expect(bob.close("left")).toEqual([]);
  });
});

describe("the transcripts", () => {
  type Json = Readonly<Record<string, unknown>>;
  interface Transcript {
    readonly name: string;
    readonly is_offerer: boolean;
    readonly can_restart: boolean;
    readonly ids?: readonly string[];
    readonly steps: readonly Json[];
  }

  const read = (signal: unknown): PeerSignal =>
    PEER_SIGNALS[(signal as PeerSignal).kind]?.read(signal, "signal", "json") as PeerSignal;
  const write = (signal: PeerSignal): unknown => PEER_SIGNALS[signal.kind]?.write(signal, "json");

  function written(step: MeshStep): unknown {
    switch (step.step) {
      case "open":
        return { open: step.link };
      case "expect":
        return { room: step.media };
      case "offer":
        return { offer: null };
      case "answer":
        return { answer: write(step.offer) };
      case "apply":
        return { apply: write(step.answer) };
      case "candidate":
        return { candidate: write(step.candidate) };
      case "close":
        return { close: null };
      case "send":
        return { send: write(step.signal) };
      case "reachable":
        return { reachable: step.isReachable };
    }
  }

  function play(link: MeshLink, step: Json): MeshStep[] {
    const [at, id] = [step["at"] as number, step["link"] as string];
    switch (step["do"]) {
      case "begin":
        return link.begin(at);
      case "want":
        return link.want(step["media"] as ("audio" | "video")[]);
      case "signalled":
        return link.signalled(read(step["signal"]), at);
      case "described":
        return link.described(id, step["sdp"] as string, [], false);
      case "applied":
        return link.applied(id);
      case "path_is":
        return link.pathIs(id, step["path"] as "up", at);
      case "broke":
        return link.broke(id, at);
      case "time_passed":
        return link.timePassed(at);
      case "close":
        return link.close(step["reason"] as string);
      default:
        throw new Error(`Nobody knows how to ${String(step["do"])}.`);
    }
  }

  test.each(vector<Transcript[]>("peers/mesh.json"))("$name", (transcript) => {
    const fresh = [...(transcript.ids ?? [])];
    const { is_offerer: isOfferer, can_restart: canRestart } = transcript;
    const link = new MeshLink({ isOfferer, canRestart, newId: () => fresh.shift() ?? "" });
    for (const step of transcript.steps) {
      const steps = play(link, step).map(written);
      expect({ steps, deadline: link.deadlineMs, isUp: link.isUp }, JSON.stringify(step)).toEqual({
        steps: step["steps"] ?? [],
        deadline: step["deadline"],
        isUp: step["is_up"] ?? false,
      });
    }
  });
});
