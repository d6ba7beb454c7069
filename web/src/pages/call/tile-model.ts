/**
 * What the tiles of a call show.
 *
 * Owns who has a tile, their order and what is on it. Never touches an element.
 */

import type { EncryptionState, Peer, RemotePublication, TrackEvent } from "../../sdk/webrtc/records";
import { encryptionWords } from "./wording";

export interface TileModel {
  /** The same for the same tile, as long as it is there. */
  readonly key: string;
  readonly identity: string;
  readonly name: string;
  readonly isOwn: boolean;
  readonly isScreen: boolean;
  /** What is played; the own one without sound. */
  readonly stream: MediaStream | undefined;
  /** There is a picture; else the sign of the person is shown. */
  readonly hasPicture: boolean;
  /** A camera on this side is shown as in a mirror. */
  readonly isMirrored: boolean;
  /** Nothing can be heard from them. */
  readonly isSilent: boolean;
  readonly isSpeaking: boolean;
  readonly isHandUp: boolean;
  /** In words, where a picture or the sound is missing; empty if there is nothing to say. */
  readonly status: string;
}

/** What is known of this side. */
export interface OwnSide {
  readonly identity: string;
  readonly name: string;
  readonly camera: MediaStream | undefined;
  readonly isMicrophoneOn: boolean;
  readonly isSharing: boolean;
}

export interface CallView {
  readonly own: OwnSide;
  readonly peers: readonly Peer[];
  readonly tracks: readonly TrackEvent[];
  readonly encryptionOf: (publication: RemotePublication) => EncryptionState;
  /** The identities of those who speak. */
  readonly speaking: ReadonlySet<string>;
  readonly handsUp: ReadonlySet<string>;
  /** The key of the tile that a person wants large. */
  readonly pinned: string | undefined;
  /** The connection is lost: pictures stand still. */
  readonly isLost: boolean;
}

/** All tiles in the order of their places, and whether the first is to be large. */
export function tilesOf(view: CallView): { readonly tiles: TileModel[]; readonly hasStage: boolean } {
  const { own, pinned } = view;
  const tiles = view.peers.flatMap((peer) => tilesOfPeer(peer, view));
  const ownTiles = tilesOfOwn(own, view);
  const screens = tiles.filter(({ isScreen }) => isScreen);
  const all = [...screens, ...tiles.filter(({ isScreen }) => !isScreen), ...ownTiles];
  const large = all.find(({ key }) => key === pinned) ?? screens[0];
  if (!large || all.length === 1) return { tiles: all, hasStage: false };
  return { tiles: [large, ...all.filter((tile) => tile !== large)], hasStage: true };
}

function tilesOfPeer(peer: Peer, view: CallView): TileModel[] {
  const { identity, name, publications } = peer;
  const received = (wanted: RemotePublication | undefined): TrackEvent | undefined =>
    view.tracks.find(({ info }) => info.publication.id === wanted?.id);
  const common = { identity, name, isOwn: false, isMirrored: false };
  const picture = publications.find(({ media, source }) => media === "video" && source !== "screen");
  const sound = publications.find(({ media, source }) => media === "audio" && source !== "screen_audio");
  const [pictureTrack, soundTrack] = [received(picture), received(sound)];
  const isShown = picture !== undefined && !picture.isMuted;
  const isHeard = sound !== undefined && !sound.isMuted;
  const [pictureState, soundState] = [stateOf(picture, view), stateOf(sound, view)];
  const person: TileModel = {
    ...common,
    key: identity,
    isScreen: false,
    stream: (pictureTrack ?? soundTrack)?.info.stream,
    hasPicture: isShown && pictureTrack !== undefined && comes(pictureState),
    isSilent: !isHeard || isHidden(soundState),
    isSpeaking: view.speaking.has(identity),
    isHandUp: view.handsUp.has(identity),
    status:
      (isShown && encryptionWords(pictureState)) ||
      (isHeard && encryptionWords(soundState, "sound")) ||
      statusOf(view.isLost, isShown && !(pictureTrack && comes(pictureState))),
  };
  const screens = publications.filter(({ source }) => source === "screen");
  return [
    ...screens.map((screen): TileModel => {
      const track = received(screen);
      const state = stateOf(screen, view);
      return {
        ...common,
        key: screen.id,
        isScreen: true,
        stream: track?.info.stream,
        hasPicture: track !== undefined && !screen.isMuted && comes(state),
        isSilent: false,
        isSpeaking: false,
        isHandUp: false,
        status: encryptionWords(state) || statusOf(view.isLost, !(track && comes(state))),
      };
    }),
    person,
  ];
}

function tilesOfOwn(own: OwnSide, view: CallView): TileModel[] {
  const { identity, name, camera } = own;
  const common = { identity, name, isOwn: true, isSpeaking: false, isHandUp: false };
  const person: TileModel = {
    ...common,
    key: "own",
    isScreen: false,
    stream: camera,
    hasPicture: camera !== undefined,
    isMirrored: true,
    isSilent: !own.isMicrophoneOn,
    isSpeaking: own.isMicrophoneOn && view.speaking.has(identity),
    isHandUp: view.handsUp.has(identity),
    status: "",
  };
  if (!own.isSharing) return [person];
  const screen: TileModel = {
    ...common,
    key: "own-screen",
    isScreen: true,
    stream: undefined,
    hasPicture: false,
    isMirrored: false,
    isSilent: false,
    status: "You are sharing your screen",
  };
  return [screen, person];
}

function stateOf(publication: RemotePublication | undefined, view: CallView): EncryptionState {
  return publication ? view.encryptionOf(publication) : "open";
}

/** Whether there is something to show: what is not there yet would be a black tile. */
function comes(state: EncryptionState): boolean {
  return state === "open" || state === "sealed";
}

/** Whether it will not be shown. */
function isHidden(state: EncryptionState): boolean {
  return !comes(state) && state !== "waiting";
}

function statusOf(isLost: boolean, isMissing: boolean): string {
  if (isLost) return "Reconnecting…";
  return isMissing ? "Picture is coming…" : "";
}
