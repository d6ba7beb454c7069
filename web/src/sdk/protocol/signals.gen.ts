// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

/** A track that the client sends on the m-line `mid`. */
export interface OfferedTrack {
  readonly mid: string;
  readonly publication: string;
  readonly source?: "camera" | "microphone" | "other" | "screen" | "screen_audio";
  readonly is_muted?: boolean;
  readonly is_sealed?: boolean;
}

/**
 * A new description of a connection; the first one of a `connection` opens it.
 *
 * Sent straight after setLocalDescription: candidates are not waited for, the client becomes peer-reflexive.
 */
export interface OfferSignal {
  readonly kind: "offer";
  readonly connection: string;
  readonly number: number;
  readonly sdp: string;
  readonly tracks?: readonly OfferedTrack[];
  readonly slots?: readonly string[];
}

/** The client stopped, or again begins, to send something on a publication. */
export interface MuteSignal {
  readonly kind: "mute";
  readonly connection: string;
  readonly publication: string;
  readonly is_muted: boolean;
}

/** A publication ends; its m-line may be reused by a later offer. */
export interface UnpublishSignal {
  readonly kind: "unpublish";
  readonly connection: string;
  readonly publication: string;
}

/** The connection is closed on purpose. */
export interface LeaveSignal {
  readonly kind: "leave";
  readonly connection: string;
}

/** The answer to the offer `number` of `connection`. */
export interface AnswerSignal {
  readonly kind: "answer";
  readonly connection: string;
  readonly number: number;
  readonly sdp: string;
  readonly term: number;
}

/** A signal could not be followed; the connection goes on as it was, or did not begin. */
export interface RefusedSignal {
  readonly kind: "refused";
  readonly connection: string;
  readonly number?: number;
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** A track of somebody, as the others see it. */
export interface Publication {
  readonly publication: string;
  readonly participant: string;
  readonly name: string;
  readonly media: "audio" | "video";
  readonly source: "camera" | "microphone" | "other" | "screen" | "screen_audio";
  readonly is_muted: boolean;
  readonly is_sealed: boolean;
}

/** Somebody in the call, with or without publications. */
export interface Caller {
  readonly identity: string;
  readonly name: string;
}

/** Who is in the call and everything that is published in it, whenever one changes; `version` rises. */
export interface PublicationsSignal {
  readonly kind: "publications";
  readonly term: number;
  readonly version: number;
  readonly publications: readonly Publication[];
  readonly callers: readonly Caller[];
}

/** What a slot carries now; nothing where `publication` is missing. */
export interface Binding {
  readonly mid: string;
  readonly publication?: string;
}

/** The bindings of all slots of a connection, whenever one changes; `version` rises. */
export interface SlotsSignal {
  readonly kind: "slots";
  readonly connection: string;
  readonly version: number;
  readonly bindings: readonly Binding[];
  readonly wanting: number;
}

/** One who speaks; `level` from 0 (silence) to 1 (full scale). */
export interface Speaker {
  readonly participant: string;
  readonly level: number;
}

/** Who speaks now, the loudest first; an empty list is silence. */
export interface SpeakersSignal {
  readonly kind: "speakers";
  readonly speakers: readonly Speaker[];
}

/** The room is served by a new worker, or its worker lost the connection: offer anew, with a new connection id. */
export interface RestartSignal {
  readonly kind: "restart";
  readonly term: number;
  readonly reason: string;
}

/** The SFU closed the connection: replaced, expired, kicked, silent for too long. */
export interface EndedSignal {
  readonly kind: "ended";
  readonly connection: string;
  readonly code: string;
  readonly message: string;
}

export type ClientSignal =
  | OfferSignal
  | MuteSignal
  | UnpublishSignal
  | LeaveSignal;

export type SfuSignal =
  | AnswerSignal
  | RefusedSignal
  | PublicationsSignal
  | SlotsSignal
  | SpeakersSignal
  | RestartSignal
  | EndedSignal;
