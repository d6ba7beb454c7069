/** Who has a tile, and what is on it. */
import { describe, expect, test } from "vitest";
import { type CallView, tilesOf } from "../../../src/pages/call/tile-model";
import type { EncryptionState, Peer, RemotePublication, TrackEvent } from "../../../src/sdk/webrtc/records";

const STREAM = {} as MediaStream;

function publication(id: string, changes: Partial<RemotePublication> = {}): RemotePublication {
  const identity = id.split("/")[0] ?? "";
  return {
    id,
    identity,
    name: identity,
    media: "video",
    source: "camera",
    isMuted: false,
    isSealed: false,
    ...changes,
  };
}

const camera = publication("ann/cam");
const microphone = publication("ann/mic", { media: "audio", source: "microphone" });
const screen = publication("ann/screen", { source: "screen" });

function peer(identity: string, ...publications: RemotePublication[]): Peer {
  return { identity, name: identity, publications };
}

function received(...publications: RemotePublication[]): TrackEvent[] {
  return publications.map((one) => ({
    track: {} as MediaStreamTrack,
    info: { publication: one, peer: peer(one.identity), stream: STREAM },
  }));
}

function view(changes: Partial<CallView> = {}): CallView {
  return {
    own: { identity: "me", name: "Me", camera: undefined, isMicrophoneOn: true, isSharing: false },
    peers: [],
    tracks: [],
    encryptionOf: () => "open",
    speaking: new Set(),
    handsUp: new Set(),
    pinned: undefined,
    isLost: false,
    ...changes,
  };
}

const keys = (changes: Partial<CallView>) => tilesOf(view(changes)).tiles.map(({ key }) => key);

describe("tiles", () => {
  test("are those of everybody, oneself last", () => {
    expect(keys({ peers: [peer("ann", camera), peer("bob")] })).toEqual(["ann", "bob", "own"]);
  });

  test("say why nothing is shown, and show neither noise nor black", () => {
    const peers = [peer("ann", camera, microphone, screen)];
    const tracks = received(camera, microphone, screen);
    const shown = (states: Record<string, EncryptionState>) => {
      const { tiles } = tilesOf(view({ peers, tracks, encryptionOf: ({ id }) => states[id] ?? "sealed" }));
      return tiles
        .slice(0, 2)
        .map(({ hasPicture, isSilent, status }) => [hasPicture, isSilent, status] as const);
    };
    expect(shown({})).toEqual([
      [true, false, ""],
      [true, false, ""],
    ]);
    expect(
      shown({ "ann/cam": "undecryptable", "ann/mic": "undecryptable", "ann/screen": "waiting" }),
    ).toEqual([
      [false, false, "Picture is coming…"],
      [false, true, "Cannot be decrypted"],
    ]);
    expect(shown({ "ann/mic": "not_sealed", "ann/screen": "not_sealed" })).toEqual([
      [false, false, "Not encrypted, so not shown"],
      [true, true, "Sound is not encrypted, not played"],
    ]);
    expect(shown({ "ann/cam": "waiting", "ann/screen": "not_opened" })).toEqual([
      [false, false, "Encrypted, not opened here"],
      [false, false, "Picture is coming…"],
    ]);
  });

  test("show a picture that is sent and received", () => {
    const of = (changes: Partial<CallView>) => tilesOf(view(changes)).tiles[0];
    const peers = [peer("ann", camera, microphone)];
    expect(of({ peers, tracks: received(camera, microphone) })).toMatchObject({
      hasPicture: true,
      isSilent: false,
      status: "",
      stream: STREAM,
    });
    expect(of({ peers, tracks: received(microphone) })).toMatchObject({
      hasPicture: false,
      status: "Picture is coming…",
      stream: STREAM,
    });
    const muted = [peer("ann", { ...camera, isMuted: true }, { ...microphone, isMuted: true })];
    expect(of({ peers: muted, tracks: received(camera, microphone) })).toMatchObject({
      hasPicture: false,
      isSilent: true,
      status: "",
    });
    expect(of({ peers: [peer("bob")] })).toMatchObject({
      hasPicture: false,
      isSilent: true,
      stream: undefined,
    });
    expect(of({ peers, isLost: true })).toMatchObject({ status: "Reconnecting…" });
  });

  test("say who speaks and who wants to", () => {
    const changes = { peers: [peer("ann")], speaking: new Set(["ann", "me"]), handsUp: new Set(["ann"]) };
    const [ann, own] = tilesOf(view(changes)).tiles;
    expect(ann).toMatchObject({ isSpeaking: true, isHandUp: true });
    expect(own).toMatchObject({ isSpeaking: true, isHandUp: false, isMirrored: true });
    const silent = { ...view().own, isMicrophoneOn: false };
    expect(tilesOf(view({ ...changes, own: silent })).tiles[1]).toMatchObject({
      isSpeaking: false,
      isSilent: true,
    });
  });
});

describe("the large one", () => {
  const peers = [peer("bob", publication("bob/cam")), peer("ann", camera, screen)];

  test("is a shared screen, or what somebody chose", () => {
    expect(tilesOf(view({ peers }))).toMatchObject({ hasStage: true });
    expect(keys({ peers })).toEqual(["ann/screen", "bob", "ann", "own"]);
    expect(keys({ peers, pinned: "bob" })).toEqual(["bob", "ann/screen", "ann", "own"]);
    expect(keys({ peers, pinned: "own" })[0]).toBe("own");
  });

  test("is nobody where none is chosen, or the chosen one has gone, or one is alone", () => {
    const without = [peer("bob"), peer("ann")];
    expect(tilesOf(view({ peers: without })).hasStage).toBe(false);
    expect(tilesOf(view({ peers: without, pinned: "eve" })).hasStage).toBe(false);
    expect(tilesOf(view({ pinned: "own" })).hasStage).toBe(false);
  });

  test("is not the own screen, which one sees already", () => {
    const own = { ...view().own, isSharing: true };
    const { tiles, hasStage } = tilesOf(view({ own, peers: [peer("bob")] }));
    expect(hasStage).toBe(false);
    expect(tiles.map(({ key, status }) => [key, status])).toEqual([
      ["bob", ""],
      ["own-screen", "You are sharing your screen"],
      ["own", ""],
    ]);
  });
});
