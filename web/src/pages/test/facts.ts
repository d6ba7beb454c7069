/**
 * What the connection tester found out, before anybody says what it means.
 *
 * Owns the shapes, those of `peerbus.client.doctor.facts`, under the names that the report has. Absent: it was not tried.
 */

/** `denied`: by the person, to this site; `forbidden`: by the system, to this program. */
export type DeviceState = "ok" | "none" | "denied" | "forbidden" | "busy" | "failed" | "untried";

/** Something that was tried once: it took `ms`, or it failed. */
export interface Attempt {
  readonly ms?: number;
  /** The exact words of the failure. */
  readonly error?: string;
  /** An error code of the wire, the number in a STUN error, or one of those in `server-findings`. */
  readonly code?: string;
}

/** One address of a STUN or TURN server. */
export interface ServerAttempt extends Attempt {
  readonly url: string;
}

/** Two members of a call through the media worker; `ms` until both were in it. */
export interface CallAttempt extends Attempt {
  /** There and back again, by the data channel. */
  readonly data_ms?: number;
  /** From publishing to the first picture on the other side. */
  readonly media_ms?: number;
}

/** How many addresses ICE found, by kind; `ipv6` counts among the others, too. */
export interface Candidates {
  readonly host?: number;
  readonly mdns?: number;
  readonly srflx?: number;
  readonly relay?: number;
  readonly ipv6?: number;
}

/** The own ports as STUN servers see them. */
export interface Nat {
  /** How many answered. */
  readonly servers?: number;
  /** What they saw, each once: `address:port`. */
  readonly mappings?: readonly string[];
  /** It is an address of this machine. */
  readonly is_direct?: boolean;
}

/** Small messages by the unreliable data channel, there and back again. */
export interface Quality {
  readonly sent: number;
  readonly received: number;
  readonly rtt_ms?: number;
  readonly jitter_ms?: number;
}

export interface Facts {
  /** Whether the browser takes the page for secure. */
  readonly is_secure?: boolean;
  /** Of a program: whether browsers would. */
  readonly is_address_secure?: boolean;
  /** Whether `GET /v1/status` is answered as a peerbus server does. */
  readonly server?: Attempt;
  readonly websocket?: Attempt;
  readonly longpoll?: Attempt;
  readonly servers?: readonly ServerAttempt[];
  readonly candidates?: Candidates;
  readonly nat?: Nat;
  /** Without any TURN server. */
  readonly call?: CallAttempt;
  /** Through TURN servers only. */
  readonly relay_call?: CallAttempt;
  readonly mbit_per_s?: number;
  readonly quality?: Quality;
  readonly camera?: DeviceState;
  readonly microphone?: DeviceState;
}
