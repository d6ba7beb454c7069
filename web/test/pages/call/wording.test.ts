/** Every state and refusal of a call has words, and a way on. */
import { describe, expect, test } from "vitest";
import type { Device, MediaProblem } from "../../../src/pages/call/own-media";
import {
  bitRate,
  callBanner,
  callFailureWording,
  callPill,
  deviceWording,
  encryptionWords,
  figures,
  hiddenWording,
  mediaOpenness,
} from "../../../src/pages/call/wording";
import type { State } from "../../../src/sdk/agent/records";
import type { CallState } from "../../../src/sdk/webrtc/records";

const PROBLEMS: readonly MediaProblem[] = ["insecure", "unsupported", "denied", "missing", "busy", "failed"];

function agent(name: State["name"], code = "", why = ""): State {
  return { name, code, why, retryInMs: 0, transport: undefined, correlationId: "c1", details: {} };
}

function call(name: CallState["name"], code = "", why = ""): CallState {
  return { name, code, why, retryInMs: 0 };
}

describe("devices", () => {
  test.each(PROBLEMS)("%s: what happened, and that one can join all the same", (problem) => {
    for (const devices of [["camera"], ["microphone"], ["camera", "microphone"]] as Device[][]) {
      const { title, text, code } = deviceWording(devices, problem);
      expect(title).toMatch(/camera|microphone/);
      expect(text).toMatch(/without/);
      expect(code).toBe(`media_${problem}`);
    }
  });
});

describe("the pill", () => {
  test.each([
    [agent("connecting"), call("connecting"), "Connecting…"],
    [agent("connected"), call("connected"), "Connected · through the server"],
    [agent("reconnecting"), call("connected"), "In the call · channel reconnecting…"],
    [agent("connected"), call("reconnecting"), "Reconnecting…"],
    [agent("closed", "kicked"), call("closed", "kicked"), "Not connected"],
    [agent("connected"), call("closed", "room_full"), "Not connected"],
  ])("%j %j", (one, other, words) => {
    expect(callPill(one, other, 0).words).toBe(words);
  });

  test("counts down longer waits", () => {
    expect(callPill(agent("connected"), call("reconnecting"), 4_200).words).toBe("Reconnecting in 5 s");
  });
});

describe("the banner", () => {
  test("says nothing while all is well, or when one has left", () => {
    expect(callBanner(agent("connected"), call("connected"))).toBeUndefined();
    expect(callBanner(agent("connecting"), call("connecting"))).toBeUndefined();
    expect(callBanner(agent("closed", "closed"), call("closed", "closed"))).toBeUndefined();
  });

  test("tells what is tried again", () => {
    expect(callBanner(agent("connected"), call("reconnecting", "restarted", "x"))).toMatchObject({
      tone: "warn",
      code: "connection_lost",
    });
    expect(callBanner(agent("connected"), call("connecting", "no_worker", "None."))).toMatchObject({
      tone: "warn",
      title: "The call can’t be served right now",
    });
  });

  test("tells of the end, and by which code", () => {
    expect(callBanner(agent("connected"), call("closed", "room_full", "Room for 64."))).toMatchObject({
      tone: "bad",
      text: "Room for 64. Wait until somebody leaves, then join again.",
    });
    expect(callBanner(agent("closed", "expired", ""), call("closed", "expired"))).toMatchObject({
      code: "expired",
      correlationId: "c1",
    });
  });
});

test("a code that is not known has the server's own words", () => {
  expect(callFailureWording("brand_new", "Something else.")).toMatchObject({ text: "Something else." });
});

test("who can see and hear is said plainly, with a lock only where nobody else can", () => {
  const said = (hasPassword: boolean, isEncrypted: boolean) => {
    const { badge, sign, text } = mediaOpenness({ hasPassword }, isEncrypted);
    return [badge, sign, text.some((line) => line.includes("could see and hear"))];
  };
  expect(said(true, true)).toEqual(["Encrypted end to end", "lock", false]);
  expect(said(true, false)).toEqual(["Locked, not encrypted end to end", "eye", true]);
  expect(said(false, false)).toEqual(["Open, not encrypted end to end", "lock-open", true]);
});

test("what is not shown is explained, what is shown is not", () => {
  for (const state of ["open", "waiting", "sealed"] as const) {
    expect([encryptionWords(state), encryptionWords(state, "sound")]).toEqual(["", ""]);
  }
  for (const state of ["undecryptable", "not_sealed", "not_opened"] as const) {
    expect(encryptionWords(state)).toMatch(/crypted/);
    expect(encryptionWords(state, "sound")).toMatch(/^Sound .*crypted/);
  }
});

test("of whom nothing is shown is said, and what to do", () => {
  expect(hiddenWording("undecryptable", [])).toBeUndefined();
  const said = hiddenWording("undecryptable", ["Ann", "Bob"]);
  expect(said).toMatchObject({ title: "Ann and Bob can’t be seen or heard", code: "call_undecryptable" });
  expect(said?.text).toContain("same link");
  expect(hiddenWording("not_sealed", ["Ann"])).toMatchObject({ title: "Ann does not encrypt" });
});

test("figures are named and have units", () => {
  expect([bitRate(0), bitRate(64_400), bitRate(1_250_000)]).toEqual(["0 kb/s", "64 kb/s", "1.3 Mb/s"]);
  const stream = {
    isMuted: false,
    frames: 1,
    media: "video",
    codec: "VP8",
    bytes: 0,
    packets: 0,
    jitterMs: 1,
    audioLevel: undefined,
  } as const;
  const video = {
    ...stream,
    source: "camera",
    width: 640,
    height: 360,
    framesPerS: 29.7,
    bitsPerS: 800_000,
  } as const;
  const rows = figures({
    timeMs: 0,
    connection: {
      state: "connected",
      path: "direct",
      protocol: "udp",
      localAddress: undefined,
      remoteAddress: undefined,
      roundTripMs: 12.4,
      availableSendBitsPerS: undefined,
      packetsSent: 0,
      packetsReceived: 0,
      bytesSent: 0,
      bytesReceived: 0,
      sendBitsPerS: 1_000_000,
      receiveBitsPerS: 0,
    },
    sent: [
      {
        ...video,
        publication: "camera-1",
        packetsLost: 0,
        framesEncoded: 1,
        packetsResent: 0,
        roundTripMs: 1,
        framesSealed: 0,
        limitedBy: "cpu",
      },
    ],
    received: [
      {
        ...video,
        publication: "a/camera-1",
        identity: "a",
        name: "Ann",
        packetsLost: 3,
        framesDecoded: 1,
        framesDropped: 0,
        keyFrames: 1,
        audioEnergy: undefined,
        jitterBufferMs: 1,
        encryption: "open",
        framesOpened: 0,
        framesRefused: 0,
      },
    ],
    data: { messagesSent: 0, messagesReceived: 0, messagesDropped: 0, waitingBytes: 0 },
  });
  expect(rows).toEqual([
    ["Path", "directly to the server, UDP"],
    ["Delay to the server", "12 ms"],
    ["Sending", "1.0 Mb/s"],
    ["Receiving", "0 kb/s"],
    ["Encryption", "up to the server"],
    ["You · camera", "800 kb/s · 640×360 · 30 fps · limited by this machine"],
    ["Ann · camera", "800 kb/s · 640×360 · 30 fps · 3 packets lost"],
  ]);
});
