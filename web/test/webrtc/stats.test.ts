/** From a browser's report to one object. */
import { describe, expect, test } from "vitest";
import { type StatsContext, statsOf } from "../../src/sdk/webrtc/stats";

const DATA = { messagesSent: 1, messagesReceived: 2, messagesDropped: 3, waitingBytes: 4 };
const ANN = { id: "ann/cam", source: "camera", isMuted: true, identity: "ann", name: "Ann" } as const;
const OWN = { id: "camera-1", source: "camera", isMuted: false, identity: "me", name: "Me" } as const;

function context(timeMs: number): StatsContext {
  return {
    timeMs,
    state: "connected",
    data: DATA,
    sentOn: (mid) => (mid === "0" ? OWN : undefined),
    receivedOn: (mid) => (mid === "1" ? ANN : undefined),
    framesSealedOn: (mid) => (mid === "0" ? 58 : 0),
    encryptionOf: (id) => ({ state: id === ANN.id ? "sealed" : "open", opened: 60, refused: 1 }),
  };
}

function report(bytes: number) {
  return [
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    {
      id: "P",
      type: "candidate-pair",
      localCandidateId: "L",
      remoteCandidateId: "R",
      bytesSent: bytes,
      bytesReceived: bytes * 2,
      currentRoundTripTime: 0.012,
      availableOutgoingBitrate: 300_000,
    },
    {
      id: "L",
      type: "local-candidate",
      candidateType: "prflx",
      protocol: "udp",
      address: "192.0.2.1",
      port: 5,
    },
    { id: "R", type: "remote-candidate", address: "2001:db8::1", port: 6 },
    { id: "C", type: "codec", mimeType: "video/VP8" },
    {
      id: "O",
      type: "outbound-rtp",
      kind: "video",
      mid: "0",
      codecId: "C",
      remoteId: "RI",
      bytesSent: bytes,
      packetsSent: 9,
      frameWidth: 640,
      frameHeight: 360,
      framesPerSecond: 30,
      framesEncoded: 90,
      qualityLimitationReason: "bandwidth",
      retransmittedPacketsSent: 2,
    },
    { id: "RI", type: "remote-inbound-rtp", packetsLost: 1, jitter: 0.004, roundTripTime: 0.02 },
    {
      id: "I",
      type: "inbound-rtp",
      kind: "video",
      mid: "1",
      codecId: "C",
      bytesReceived: bytes,
      packetsReceived: 8,
      packetsLost: 0,
      jitter: 0.001,
      framesDecoded: 60,
      framesDropped: 1,
      keyFramesDecoded: 2,
      jitterBufferDelay: 3,
      jitterBufferEmittedCount: 60,
    },
    { id: "F", type: "inbound-rtp", kind: "video", mid: "2", bytesReceived: 0 },
  ];
}

describe("stats", () => {
  test("name every stream, and say how the connection goes", () => {
    const { stats } = statsOf(report(1_000), context(5_000), new Map());
    expect(stats.connection).toEqual({
      state: "connected",
      path: "direct",
      protocol: "udp",
      localAddress: "192.0.2.1:5",
      remoteAddress: "[2001:db8::1]:6",
      roundTripMs: 12,
      availableSendBitsPerS: 300_000,
      packetsSent: 0,
      packetsReceived: 0,
      bytesSent: 1_000,
      bytesReceived: 2_000,
      sendBitsPerS: 0,
      receiveBitsPerS: 0,
    });
    expect(stats.sent).toMatchObject([
      {
        publication: "camera-1",
        codec: "VP8",
        width: 640,
        packetsLost: 1,
        jitterMs: 4,
        roundTripMs: 20,
        limitedBy: "bandwidth",
        framesSealed: 58,
      },
    ]);
    expect(stats.received).toMatchObject([
      {
        publication: "ann/cam",
        name: "Ann",
        isMuted: true,
        framesDecoded: 60,
        keyFrames: 2,
        jitterBufferMs: 50,
        encryption: "sealed",
        framesOpened: 60,
        framesRefused: 1,
      },
    ]);
    expect(stats.data).toEqual(DATA);
  });

  test("have rates since the time before", () => {
    const { counters } = statsOf(report(1_000), context(5_000), new Map());
    const { stats } = statsOf(report(3_000), context(7_000), counters);
    expect(stats.sent[0]?.bitsPerS).toBe(8_000);
    expect(stats.connection.receiveBitsPerS).toBe(16_000);
    // A new connection counts from nothing.
    expect(statsOf(report(10), context(9_000), counters).stats.sent[0]?.bitsPerS).toBe(0);
  });

  test("of a connection that is none are empty", () => {
    const { stats } = statsOf([], context(0), new Map());
    expect(stats).toMatchObject({ sent: [], received: [], connection: { path: undefined, bytesSent: 0 } });
  });

  test("take the pair that says it is selected where no transport names one", () => {
    const { stats } = statsOf(
      [{ id: "P", type: "candidate-pair", selected: true, state: "succeeded", bytesSent: 5 }],
      context(0),
      new Map(),
    );
    expect(stats.connection.bytesSent).toBe(5);
  });
});
