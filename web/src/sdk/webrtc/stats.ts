/**
 * The figures of a call in one object.
 *
 * Owns its shape and the way there from the browser's report (W3C Identifiers for WebRTC's Statistics API). Never asks
 * for a report. What a browser does not say is `undefined`; rates are those since the stats before, and 0 at first.
 */

import type { ReceivedCounts } from "./frame-kernel";
import type { EncryptionState } from "./frame-sealing";
import type { Mode } from "./group-follower";
import type { PeerStats } from "./peer-stats";
import type { CallStateName, MediaKind, Source } from "./records";

/** How the connection to the SFU goes. */
export interface ConnectionStats {
  readonly state: CallStateName;
  /** `direct`, or `relay` if it goes through a TURN server. */
  readonly path: "direct" | "relay" | undefined;
  readonly protocol: "udp" | "tcp" | undefined;
  readonly localAddress: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly roundTripMs: number | undefined;
  /** What the browser thinks it may send. */
  readonly availableSendBitsPerS: number | undefined;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly sendBitsPerS: number;
  readonly receiveBitsPerS: number;
}

interface StreamStats {
  /** The id of the publication. */
  readonly publication: string;
  readonly media: MediaKind;
  readonly source: Source;
  readonly isMuted: boolean;
  readonly codec: string | undefined;
  /** Payloads, without headers. */
  readonly bytes: number;
  readonly packets: number;
  readonly bitsPerS: number;
  /** Of a sent stream: as the SFU reports it, so not known at first. */
  readonly packetsLost: number | undefined;
  readonly jitterMs: number | undefined;
  readonly width: number | undefined;
  readonly height: number | undefined;
  /** Pictures that were sent, or arrived complete. */
  readonly frames: number | undefined;
  readonly framesPerS: number | undefined;
  /** From 0 to 1. */
  readonly audioLevel: number | undefined;
}

/** One own publication, with what the SFU reports of it. */
export interface SentStats extends StreamStats {
  readonly framesEncoded: number | undefined;
  readonly packetsResent: number | undefined;
  readonly roundTripMs: number | undefined;
  /** Frames that were end-to-end encrypted; none is sent otherwise where that is on. */
  readonly framesSealed: number;
  /** Why it is not better: `none`, `cpu`, `bandwidth` or `other`. */
  readonly limitedBy: string | undefined;
}

/** One publication of somebody else. */
export interface ReceivedStats extends StreamStats {
  readonly identity: string;
  readonly name: string;
  readonly framesDecoded: number | undefined;
  readonly framesDropped: number | undefined;
  readonly keyFrames: number | undefined;
  /** Sum of the squared levels over time: grows as long as there is something to hear. */
  readonly audioEnergy: number | undefined;
  /** How long packets wait before they are played, on average. */
  readonly jitterBufferMs: number | undefined;
  readonly encryption: EncryptionState;
  readonly framesOpened: number;
  /** Dropped ones: they could not be opened, were replayed, or were not sealed although this side encrypts. */
  readonly framesRefused: number;
}

/** Data messages since the helper began. */
export interface DataStats {
  readonly messagesSent: number;
  readonly messagesReceived: number;
  /** Lossy ones that were never sent. */
  readonly messagesDropped: number;
  /** What waits to be sent. */
  readonly waitingBytes: number;
}

/** What `stats()` gives. */
export interface CallStats {
  /** Milliseconds since 1970. */
  readonly timeMs: number;
  readonly connection: ConnectionStats;
  readonly sent: readonly SentStats[];
  readonly received: readonly ReceivedStats[];
  readonly data: DataStats;
}

/** What `stats()` of the helper gives. */
export interface HelperStats extends CallStats {
  /** `undefined` before the group is known. */
  readonly mode: Mode | undefined;
  /** Of the mode; `undefined` without a group. */
  readonly term: number | undefined;
  /** By identity. */
  readonly peers: Readonly<Record<string, PeerStats>>;
}

/** Who is behind an m-line. */
export interface StatsSubject {
  readonly id: string;
  readonly source: Source;
  readonly isMuted: boolean;
  readonly identity: string;
  readonly name: string;
}

/** What the report itself does not know. */
export interface StatsContext {
  readonly timeMs: number;
  readonly state: CallStateName;
  readonly data: DataStats;
  readonly sentOn: (mid: string) => StatsSubject | undefined;
  readonly receivedOn: (mid: string) => StatsSubject | undefined;
  readonly framesSealedOn: (mid: string) => number;
  /** By the id of the publication. */
  readonly encryptionOf: (id: string) => ReceivedCounts;
}

/** The members of the browser's entries that are read here. */
interface Entry {
  readonly id: string;
  readonly type: string;
  readonly [name: string]: unknown;
}

/** The bytes of each stream and of the connection at the time before. */
export type Counters = ReadonlyMap<string, { readonly timeMs: number; readonly bytes: number }>;

/** The object, and the counters for the next time. */
export function statsOf(
  report: Iterable<Entry>,
  context: StatsContext,
  before: Counters,
): { readonly stats: CallStats; readonly counters: Counters } {
  const entries = new Map([...report].map((entry) => [entry.id, entry]));
  const rates = new Rates(context.timeMs, before);
  const all = [...entries.values()];
  const sent = all.filter(({ type }) => type === "outbound-rtp");
  const received = all.filter(({ type }) => type === "inbound-rtp");
  const stats: CallStats = {
    timeMs: context.timeMs,
    connection: connectionStats(entries, context.state, rates),
    sent: sent.flatMap((entry) => sentStats(entry, entries, context, rates)),
    received: received.flatMap((entry) => receivedStats(entry, entries, context, rates)),
    data: context.data,
  };
  return { stats, counters: rates.counters };
}

class Rates {
  readonly counters = new Map<string, { timeMs: number; bytes: number }>();
  private readonly timeMs: number;
  private readonly before: Counters;

  constructor(timeMs: number, before: Counters) {
    this.timeMs = timeMs;
    this.before = before;
  }

  bitsPerS(name: string, bytes: number): number {
    this.counters.set(name, { timeMs: this.timeMs, bytes });
    const last = this.before.get(name);
    if (!last || this.timeMs <= last.timeMs || bytes < last.bytes) return 0;
    return Math.round(((bytes - last.bytes) * 8_000) / (this.timeMs - last.timeMs));
  }
}

type Entries = ReadonlyMap<string, Entry>;

function connectionStats(entries: Entries, state: CallStateName, rates: Rates): ConnectionStats {
  const pair = selectedPair(entries);
  const local = entries.get(text(pair, "localCandidateId") ?? "");
  const remote = entries.get(text(pair, "remoteCandidateId") ?? "");
  const bytesSent = count(pair, "bytesSent");
  const bytesReceived = count(pair, "bytesReceived");
  return {
    state,
    path: local && (text(local, "candidateType") === "relay" ? "relay" : "direct"),
    protocol: text(local, "protocol") as "udp" | "tcp" | undefined,
    localAddress: addressOf(local),
    remoteAddress: addressOf(remote),
    roundTripMs: ms(pair, "currentRoundTripTime"),
    availableSendBitsPerS: figure(pair, "availableOutgoingBitrate"),
    packetsSent: count(pair, "packetsSent"),
    packetsReceived: count(pair, "packetsReceived"),
    bytesSent,
    bytesReceived,
    sendBitsPerS: rates.bitsPerS("connection sent", bytesSent),
    receiveBitsPerS: rates.bitsPerS("connection received", bytesReceived),
  };
}

/** The pair in use: the transport names it, or (Firefox) the pair says so itself. */
function selectedPair(entries: Entries): Entry | undefined {
  for (const entry of entries.values()) {
    const id = entry.type === "transport" ? text(entry, "selectedCandidatePairId") : undefined;
    if (id) return entries.get(id);
  }
  return [...entries.values()].find(
    (entry) =>
      entry.type === "candidate-pair" && entry["selected"] === true && entry["state"] === "succeeded",
  );
}

function sentStats(entry: Entry, entries: Entries, context: StatsContext, rates: Rates): SentStats[] {
  const subject = context.sentOn(text(entry, "mid") ?? "");
  if (!subject) return [];
  const remote = entries.get(text(entry, "remoteId") ?? "");
  const source = entries.get(text(entry, "mediaSourceId") ?? "");
  const bytes = count(entry, "bytesSent");
  return [
    {
      ...common(entry, entries, subject),
      bytes,
      packets: count(entry, "packetsSent"),
      bitsPerS: rates.bitsPerS(entry.id, bytes),
      packetsLost: figure(remote, "packetsLost"),
      frames: figure(entry, "framesSent"),
      jitterMs: ms(remote, "jitter"),
      audioLevel: figure(source, "audioLevel"),
      framesEncoded: figure(entry, "framesEncoded"),
      packetsResent: figure(entry, "retransmittedPacketsSent"),
      roundTripMs: ms(remote, "roundTripTime"),
      framesSealed: context.framesSealedOn(text(entry, "mid") ?? ""),
      limitedBy: text(entry, "qualityLimitationReason"),
    },
  ];
}

function receivedStats(entry: Entry, entries: Entries, context: StatsContext, rates: Rates): ReceivedStats[] {
  const subject = context.receivedOn(text(entry, "mid") ?? "");
  if (!subject) return [];
  const bytes = count(entry, "bytesReceived");
  const emitted = figure(entry, "jitterBufferEmittedCount");
  const delay = figure(entry, "jitterBufferDelay");
  const { state: encryption, opened, refused } = context.encryptionOf(subject.id);
  return [
    {
      ...common(entry, entries, subject),
      identity: subject.identity,
      name: subject.name,
      bytes,
      packets: count(entry, "packetsReceived"),
      bitsPerS: rates.bitsPerS(entry.id, bytes),
      packetsLost: figure(entry, "packetsLost"),
      frames: figure(entry, "framesReceived"),
      jitterMs: ms(entry, "jitter"),
      audioLevel: figure(entry, "audioLevel"),
      framesDecoded: figure(entry, "framesDecoded"),
      framesDropped: figure(entry, "framesDropped"),
      keyFrames: figure(entry, "keyFramesDecoded"),
      audioEnergy: figure(entry, "totalAudioEnergy"),
      encryption,
      framesOpened: opened,
      framesRefused: refused,
      jitterBufferMs: emitted && delay !== undefined ? Math.round((delay / emitted) * 1_000) : undefined,
    },
  ];
}

function common(entry: Entry, entries: Entries, { id, source, isMuted }: StatsSubject) {
  const codec = text(entries.get(text(entry, "codecId") ?? ""), "mimeType");
  return {
    publication: id,
    media: text(entry, "kind") as MediaKind,
    source,
    isMuted,
    codec: codec?.replace(/^\w+\//, ""),
    width: figure(entry, "frameWidth"),
    height: figure(entry, "frameHeight"),
    framesPerS: figure(entry, "framesPerSecond"),
  };
}

function addressOf(candidate: Entry | undefined): string | undefined {
  const host = text(candidate, "address") ?? text(candidate, "ip");
  const port = figure(candidate, "port");
  if (!host || port === undefined) return undefined;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function text(entry: Entry | undefined, name: string): string | undefined {
  const value = entry?.[name];
  return typeof value === "string" ? value : undefined;
}

function figure(entry: Entry | undefined, name: string): number | undefined {
  const value = entry?.[name];
  return typeof value === "number" ? value : undefined;
}

function count(entry: Entry | undefined, name: string): number {
  return figure(entry, name) ?? 0;
}

/** A duration that the report has in seconds. */
function ms(entry: Entry | undefined, name: string): number | undefined {
  const value = figure(entry, name);
  return value === undefined ? undefined : value * 1_000;
}
