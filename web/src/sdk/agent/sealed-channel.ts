/**
 * Puts what this side sends in a sealed channel into envelopes, and takes what it gets out of them.
 *
 * Owns the state of one connection in a sealed channel: its crypto-session, the windows, the private attributes of
 * the members, what was refused and dropped. Keeps the order of nothing by itself: a counter is taken when `ready` is
 * called, and the function that `opened` makes is to be called in the order in which the events came. Never opens a
 * connection. See PROTOCOL.md, section 13.
 */

import { type Bytes, randomBytes, toHex } from "../crypto/bytes";
import { type Attributes, type Inside, packAttributes, packInside } from "../crypto/inside";
import { openAttributes, openMessage } from "../crypto/opening";
import { SealWindows, type Verdict } from "../crypto/seal-window";
import {
  type Context,
  CRYPTO_SESSION_BYTES,
  type Header,
  OVERHEAD_BYTES,
  RETRY_TAG_BYTES,
  Sealer,
  type SealingKeys,
} from "../crypto/sealing";
import { sessionAddress } from "../protocol/channel";
import { ProtocolError } from "../protocol/errors";
import type {
  ClientFrame,
  ConnectFrame,
  HistoryFrame,
  Member,
  MessageFrame,
  SendFrame,
} from "../protocol/frames.gen";
import { GROUP_AGENT } from "../protocol/group";
import type { Event } from "../protocol/session/outputs";
import { SFU_AGENT, SIGNAL_TYPE } from "../protocol/sfu";
import { SealingError } from "./sealing-error";

const DEFAULT_TYPE = "chat-text";
const SERVICES: readonly string[] = [SFU_AGENT, GROUP_AGENT];

/** Where the connection stands when a frame is sent. */
export interface Situation {
  /** This agent's name; empty as long as the server has given none. */
  readonly agent: string;
  readonly members: readonly Member[];
}

/** What became of an event of the session: without one if nothing is left of it. */
export interface Opened {
  readonly event: Event | undefined;
  readonly refused: readonly SealingError[];
}

/** A page of history without what was refused. */
export interface OpenedHistory extends HistoryFrame {
  readonly refused: readonly SealingError[];
}

/** What became of sealed messages since the connection began. */
export interface SealingCounters {
  readonly sealed: number;
  readonly opened: number;
  /** Never shown: each was told as a `SealingError`. */
  readonly refused: number;
  /** Never shown and not told: shown before, or too old to say. */
  readonly dropped: number;
}

/** Content that waits to be sealed; the envelope of a live message is kept, so that a retry sends the same bytes. */
class Unsealed {
  readonly plaintext: Bytes;
  private agent = "";
  private frame: Promise<SendFrame> | undefined;

  constructor(plaintext: Bytes) {
    this.plaintext = plaintext;
  }

  /**
   * What `seal` gave for this sender's name. A durable message is sealed anew each time: it is known by its key, and one
   * whose refusal was lost is stored behind its followers, where an older counter would not be believed.
   */
  sealedBy(agent: string, isDurable: boolean, seal: () => Promise<SendFrame>): Promise<SendFrame> {
    if (this.frame === undefined || this.agent !== agent || isDurable) {
      this.agent = agent;
      this.frame = seal();
    }
    return this.frame;
  }
}

/** Private attributes that go with public ones, and their envelope. */
interface Hidden {
  readonly plaintext: Bytes;
  agent: string;
  envelope: Promise<Bytes> | undefined;
}

/** Private attributes of a session as they were opened: whose they were, and of which envelope. */
interface KnownAttributes {
  readonly bearer: string;
  readonly envelope: string;
  readonly inside: Attributes;
}

/** Something inside an envelope, or why it is refused. */
type Opening<T> = { readonly header: Header; readonly inside: T } | ProtocolError;

export class SealedChannel {
  private readonly keys: SealingKeys;
  private readonly sealer: Sealer;
  private readonly windows = new SealWindows();
  /** By the public attributes they go with, which the session keeps as they are. */
  private readonly hidden = new WeakMap<object, Hidden>();
  /** By session: what was opened last. */
  private readonly attributes = new Map<string, KnownAttributes>();
  /** This agent's own. */
  private own: Attributes = {};
  private readonly count = { sealed: 0, opened: 0, refused: 0, dropped: 0 };

  constructor(keys: SealingKeys, newSession: () => Bytes = () => randomBytes(CRYPTO_SESSION_BYTES)) {
    this.keys = keys;
    this.sealer = new Sealer(keys, newSession);
  }

  /** The crypto-session that others know of this connection. */
  get announced(): Bytes {
    return this.sealer.announced;
  }

  get safetyNumber(): string {
    return this.keys.safetyNumber;
  }

  get counters(): SealingCounters {
    return { ...this.count };
  }

  /** The private attributes of a member, as far as they were opened. */
  attributesOf(sessionId: string): Attributes {
    return this.attributes.get(sessionId)?.inside ?? {};
  }

  // --- sending -------------------------------------------------------------------------------------------

  /**
   * The same message with its content taken out, to be sealed when it is sent; a signal to the media worker as it is.
   *
   * Throws `ProtocolError` (`not_sealed`) for anything else that goes to the media worker.
   */
  enclosed(frame: SendFrame): SendFrame {
    if (isForService(frame)) return frame;
    const { content, binary, metadata, ...around } = frame;
    const inside: Inside = {
      ...(content === undefined ? {} : { content }),
      ...(binary === undefined ? {} : { binary }),
      ...(metadata === undefined ? {} : { metadata }),
    };
    return { type: DEFAULT_TYPE, ...around, content: new Unsealed(packInside(inside)) };
  }

  /** Has private attributes go with public ones, whenever these are sent; left out, those of before. */
  hide(attributes: Attributes, privateAttributes: Attributes | undefined): void {
    if (privateAttributes) this.own = privateAttributes;
    if (Object.keys(this.own).length === 0) return;
    this.hidden.set(attributes, { plaintext: packAttributes(this.own), agent: "", envelope: undefined });
  }

  /** Whether the private attributes that go with these were not yet sealed by this name. */
  owes(attributes: Attributes, agent: string): boolean {
    const hidden = this.hidden.get(attributes);
    return hidden !== undefined && hidden.agent !== agent;
  }

  /** A frame as large as what will be sent in the place of `frame`. */
  standIn(frame: ClientFrame): ClientFrame {
    if (frame.op === "update") {
      const hidden = this.hidden.get(frame.attributes);
      return hidden ? { ...frame, sealed_attributes: blank(hidden.plaintext.length) } : frame;
    }
    if (frame.op !== "send" || !(frame.content instanceof Unsealed)) return frame;
    const { content, ...around } = frame;
    const recipients = frame.delivery === "live" ? (frame.to?.length ?? 0) : 0;
    return {
      ...around,
      sealed: blank(content.plaintext.length + recipients * CRYPTO_SESSION_BYTES),
      ...(needsRetryTag(frame) ? { retry_tag: new Uint8Array(RETRY_TAG_BYTES) } : {}),
    };
  }

  /**
   * What is sent in the place of `frame`. Rejects with `ProtocolError` where that cannot be made: `unknown_recipient`
   * for a live message to somebody who is not among the members, and what `Sealer.seal` throws.
   */
  ready(frame: ClientFrame, situation: Situation): ClientFrame | Promise<ClientFrame> {
    if (frame.op === "connect" || frame.op === "update") return this.withAttributes(frame, situation.agent);
    if (frame.op !== "send" || !(frame.content instanceof Unsealed)) return frame;
    const { content, id } = frame;
    const isDurable = (frame.delivery ?? "durable") === "durable";
    const seal = () => this.seal(frame, content.plaintext, situation);
    const sealed = content.sealedBy(situation.agent, isDurable, seal);
    return sealed.then((made) => (id === undefined ? made : { ...made, id }));
  }

  private async seal(frame: SendFrame, plaintext: Bytes, situation: Situation): Promise<SendFrame> {
    const { content: _, id: __, ...around } = frame;
    const context: Context = { ...around, sender: situation.agent };
    const recipients = frame.delivery === "live" ? announcedBy(frame.to, situation.members) : [];
    const envelope = this.sealer.seal(frame.delivery ?? "durable", plaintext, context, recipients);
    this.count.sealed += 1;
    const key = frame.idempotency_key;
    const tag =
      needsRetryTag(frame) && key !== undefined ? await this.keys.retryTag(key, plaintext) : undefined;
    return { ...around, sealed: await envelope, ...(tag === undefined ? {} : { retry_tag: tag }) };
  }

  /** Takes its counter at once; rejects where `Sealer.seal` throws. */
  private async sealAttributes(plaintext: Bytes, agent: string): Promise<Bytes> {
    return this.sealer.seal("attributes", plaintext, { sender: agent });
  }

  private withAttributes<F extends ConnectFrame | Extract<ClientFrame, { op: "update" }>>(
    frame: F,
    agent: string,
  ): F | Promise<F> {
    const hidden = frame.attributes && this.hidden.get(frame.attributes);
    // Without a name they can't be bound to one; they follow when the server has given it.
    if (!hidden || agent === "") return frame;
    if (!hidden.envelope || hidden.agent !== agent) {
      hidden.agent = agent;
      hidden.envelope = this.sealAttributes(hidden.plaintext, agent);
    }
    return hidden.envelope.then((envelope) => ({ ...frame, sealed_attributes: envelope }));
  }

  // --- receiving -----------------------------------------------------------------------------------------

  /**
   * Begins to open what an event carries; nothing, if that is nothing sealed.
   *
   * The function says what is left of it, and notes that in the windows. `epoch` is that of durable messages which are
   * pushed, `members` gives those of the channel.
   */
  opened(event: Event, epoch: string, members: () => readonly Member[]): Promise<() => Opened> | undefined {
    if (event.event === "message") {
      // The media worker has no key; what else comes in its name is as good as anybody's.
      if (isOfService(event.message)) return undefined;
      return this.openMessage(event.message).then((judge) => () => {
        const { message, refused } = judge(epoch);
        return { event: message && { ...event, message }, refused: refused ? [refused] : [] };
      });
    }
    if (event.event === "done" && event.reply.op === "history") {
      const { reply, handle } = event;
      return Promise.all(reply.messages.map((message) => this.openMessage(message))).then((all) => () => {
        const judged = all.map((judge) => judge(reply.epoch));
        const messages = judged.flatMap(({ message }) => message ?? []);
        const refused = judged.flatMap(({ refused: error }) => error ?? []);
        const page: OpenedHistory = { ...reply, messages, refused };
        return { event: { event: "done", handle, reply: page }, refused: [] };
      });
    }
    const seen = membersIn(event, members);
    if (!seen?.some((member) => this.isNews(member))) return undefined;
    return Promise.all(seen.map((member) => this.openAttributes(member))).then((all) => () => {
      const refused = all.flatMap((note) => note() ?? []);
      this.forgetAllBut(members(), seen);
      return { event, refused };
    });
  }

  private async openMessage(
    frame: MessageFrame,
  ): Promise<(epoch: string) => { message?: MessageFrame; refused?: SealingError }> {
    const opening = await this.open(frame);
    return (epoch) => {
      if (opening instanceof ProtocolError) return { refused: this.refusal(opening, frame) };
      const { header, inside } = opening;
      const verdict = this.judge(frame, header, epoch);
      if (verdict === "replayed" || verdict === "reordered") {
        return { refused: this.refusal(new ProtocolError(verdict), frame) };
      }
      if (verdict === "dropped") {
        this.count.dropped += 1;
        return {};
      }
      this.count.opened += 1;
      // What stands beside the envelope in the clear is the server's.
      const { content: _, binary: __, metadata: ___, ...around } = frame;
      return { message: { ...around, ...inside } };
    };
  }

  private async open(frame: MessageFrame): Promise<Opening<Inside>> {
    if (frame.sealed === undefined)
      return new ProtocolError("not_sealed", "A message came that is not sealed.");
    try {
      return await openMessage(this.keys, frame.delivery, frame.sealed, frame, this.announced);
    } catch (error) {
      return asProtocolError(error);
    }
  }

  private judge({ delivery, offset }: MessageFrame, header: Header, epoch: string): Verdict {
    const { cryptoSession, counter } = header;
    if (delivery === "live") return this.windows.live(cryptoSession, counter);
    if (delivery === "lossy") return this.windows.lossy(cryptoSession, counter);
    // A durable message without a place is none.
    return offset === undefined ? "reordered" : this.windows.durable(cryptoSession, epoch, offset, counter);
  }

  private refusal(error: ProtocolError, about: MessageFrame | Member): SealingError {
    this.count.refused += 1;
    return new SealingError(error, about);
  }

  // --- attributes ----------------------------------------------------------------------------------------

  private isNews(member: Member): boolean {
    const known = this.attributes.get(member.session_id);
    if (known && known.bearer !== bearerOf(member)) return true;
    return toHex(member.sealed_attributes) !== (known?.envelope ?? "");
  }

  private async openAttributes(member: Member): Promise<() => SealingError | undefined> {
    const { session_id: sessionId, sealed_attributes: sealed } = member;
    if (!this.isNews(member)) return () => undefined;
    if (sealed.length === 0) {
      return () => {
        this.attributes.delete(sessionId);
        return undefined;
      };
    }
    const opening = await this.openAttributesOf(member);
    return () => {
      const [bearer, envelope] = [bearerOf(member), toHex(sealed)];
      const known = this.attributes.get(sessionId);
      // The server calls the session otherwise by now: what was opened was not said by that one.
      if (known && known.bearer !== bearer) this.attributes.delete(sessionId);
      if (opening instanceof ProtocolError) {
        // From here on it counts as none, and is not told again.
        this.attributes.set(sessionId, { bearer, envelope, inside: {} });
        return this.refusal(opening, member);
      }
      const { header, inside } = opening;
      if (this.windows.attributes(header.cryptoSession, header.counter) === "ok") {
        this.count.opened += 1;
        this.attributes.set(sessionId, { bearer, envelope, inside });
      } else this.count.dropped += 1;
      return undefined;
    };
  }

  private async openAttributesOf(member: Member): Promise<Opening<Attributes>> {
    try {
      return await openAttributes(this.keys, member.sealed_attributes, member.name, member.crypto_session);
    } catch (error) {
      return asProtocolError(error);
    }
  }

  private forgetAllBut(...lists: readonly (readonly Member[])[]): void {
    const here = new Set(lists.flat().map((member) => member.session_id));
    for (const sessionId of this.attributes.keys())
      if (!here.has(sessionId)) this.attributes.delete(sessionId);
  }
}

/** Whether it is for the SFU or the server, which have to read it; throws `ProtocolError` where that would not be right. */
function isForService({ to, type }: SendFrame): boolean {
  const service = SERVICES.find((name) => to?.includes(name));
  if (service === undefined) return false;
  if (to?.length === 1 && type === SIGNAL_TYPE) return true;
  throw new ProtocolError("not_sealed", `What goes to ${service} is not sealed: signals, to it alone.`);
}

function needsRetryTag({ delivery, idempotency_key }: SendFrame): boolean {
  return (delivery ?? "durable") === "durable" && idempotency_key !== undefined;
}

/** Whether it is a signal of the SFU or the server, which is not sealed. */
function isOfService({ sender, type, sealed }: MessageFrame): boolean {
  return SERVICES.includes(sender) && type === SIGNAL_TYPE && sealed === undefined;
}

/** A member's name and announced crypto-session, which its private attributes are bound to. */
function bearerOf({ name, crypto_session }: Member): string {
  return `${toHex(crypto_session)} ${name}`;
}

/** The crypto-sessions of all sessions that bear one of the names or are addressed themselves; throws `ProtocolError` (`unknown_recipient`). */
function announcedBy(names: readonly string[] | undefined, members: readonly Member[]): Uint8Array[] {
  const meant = new Set((names ?? []).map((name) => name.normalize("NFC")));
  const waysTo = ({ name, session_id }: Member) => [name, sessionAddress(session_id)];
  const bearers = members.filter((member) => waysTo(member).some((way) => meant.has(way)));
  const here = new Set(bearers.flatMap(waysTo));
  const missing = [...meant].filter((name) => !here.has(name));
  if (missing.length > 0) throw new ProtocolError("unknown_recipient", "", { details: { missing } });
  return bearers.map(({ crypto_session }) => crypto_session);
}

/** The members that an event is about. */
function membersIn(event: Event, members: () => readonly Member[]): readonly Member[] | undefined {
  if (event.event === "joined") return members();
  if (event.event === "presence") return [...event.presence.joined, ...event.presence.updated];
  if (event.event === "done" && event.reply.op === "members_reply") return event.reply.members;
  return undefined;
}

function blank(plaintextBytes: number): Uint8Array {
  return new Uint8Array(OVERHEAD_BYTES + plaintextBytes);
}

function asProtocolError(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  throw error;
}
