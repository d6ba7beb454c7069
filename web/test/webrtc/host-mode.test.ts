/** The host machine: the transcripts that both SDKs share. */
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/sdk/crypto/bytes";
import { HostMode } from "../../src/sdk/webrtc/host-mode";
import type { HostOutput } from "../../src/sdk/webrtc/host-record";
import { stateOf } from "../../src/sdk/webrtc/host-state";
import { vector } from "../vectors";

interface View {
  readonly version: number;
  readonly term: number;
  readonly host: string;
  readonly successor: string | null;
  readonly members: Readonly<Record<string, number>>;
  readonly has_gap: boolean;
}

interface Step {
  readonly at: number;
  readonly do: string;
  readonly [input: string]: unknown;
}

interface Transcript {
  readonly name: string;
  readonly identity: string;
  readonly steps: readonly Step[];
}

function written(output: HostOutput): unknown[] {
  switch (output.output) {
    case "transmit":
      return ["transmit", output.peer, toHex(output.data), output.isLossy];
    case "frame":
      return ["frame", output.sender, toHex(output.frame), output.isForHost, output.isInState];
    case "message":
      return ["message", output.sender, output.payload, output.n, output.isReplayed];
    case "host":
      return ["host", output.host, output.term, output.state ? stateOf(output.state) : null];
    case "path":
      return ["path"];
    case "gone":
      return ["gone", output.identity];
    case "renew":
      return ["renew", output.term];
    case "unheard":
      return ["unheard", output.term];
    case "reachable":
      return ["reachable", output.peer, output.isReachable];
    case "bad":
      return ["bad", output.peer, output.error.code];
  }
}

function play(mode: HostMode, step: Step): Record<string, unknown> {
  const peer = step["peer"] as string;
  const bytes = (name: string): Uint8Array => fromHex(step[name] as string);
  switch (step.do) {
    case "follow": {
      const { version, term, host, successor, members, has_gap: hasGap } = step["view"] as View;
      const orders = new Map(Object.entries(members));
      mode.follow(
        { version, term, host, successor: successor ?? undefined, members: orders, hasGap },
        step.at,
      );
      return {};
    }
    case "link_up":
      mode.linkUp(peer);
      return {};
    case "link_down":
      mode.linkDown(peer);
      return {};
    case "receive":
      mode.receive(peer, bytes("data"), step.at);
      return {};
    case "submit":
      return { is_taken: mode.submit(step["to"] as string[], bytes("frame"), step.at) };
    case "set_state":
      mode.setState(step["state"], step.at);
      return {};
    case "tick":
      mode.tick(step.at);
      return {};
    case "take":
      return { out: mode.take(step.at).map(written) };
    default:
      throw new Error(`a transcript wants ${step.do}`);
  }
}

describe("transcripts", () => {
  test.each(vector<Transcript[]>("peers/host.json"))("$name", ({ identity, steps }) => {
    const mode = new HostMode(identity);
    for (const [index, step] of steps.entries()) {
      const told = play(mode, step);
      const after = { path: mode.path, deadline: mode.deadlineMs };
      const expected = Object.fromEntries(
        ["out", "is_taken"].filter((key) => key in step).map((key) => [key, step[key]]),
      );
      expect({ ...told, ...after }, `step ${index}: ${step.do}`).toEqual({
        ...expected,
        path: step["path"],
        deadline: step["deadline"],
      });
    }
  });
});
