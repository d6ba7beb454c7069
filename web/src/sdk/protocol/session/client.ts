/**
 * The client's side of a session: handshake, requests, resume, keepalive, reconnecting.
 *
 * The twin of `peerbus.protocol.session.client`; both run `tests/vectors/sessions`. Owns every decision about when
 * to connect, what to send and what to tell the user. Never opens a socket, reads a clock or draws a random number:
 * a shell reports what happened with the time, then takes, in this order, `framesToSend()`, `actionsToDo()` and
 * `events()`, and calls `tick` at `deadline()`. See PROTOCOL.md, sections 2 to 7.
 */

import { isNameIdentity } from "../channel";
import { type ErrorCode, errorInfo, mayReconnect, NORMAL_CLOSURE, ProtocolError } from "../errors";
import type {
  ClientFrame,
  ConnectedFrame,
  ErrorFrame,
  ExpiringFrame,
  Member,
  MessageFrame,
  ResetFrame,
  SendFrame,
  ServerFrame,
} from "../frames.gen";
import { isSame } from "../values";
import { Attempts } from "./attempts";
import { Credential } from "./credential";
import { Cursors } from "./cursors";
import { failure, failureOfClose, failureOfClosing, mayRetry, stateOf } from "./failures";
import { Keepalive } from "./keepalive";
import type { Action, Event, Gap, Reply, State } from "./outputs";
import { TransportChoice } from "./paths";
import { type RequestOptions, RequestWriter } from "./request-writer";
import { isEmpty, Roster } from "./roster";
import type { ClientSettings } from "./settings";

/** The protocol version that this module speaks. */
const VERSION = 1;
/** How long after mail came the server is told that it was read. */
const MAIL_READ_MS = 200;

/**
 * `credential`: waits for a key. `waiting`: for the time of the next attempt. `opening`: for the transport.
 * `handshake`: for `connected`. `open`: the session is up.
 */
type Phase = "idle" | "credential" | "waiting" | "opening" | "handshake" | "open" | "closed";

/**
 * One session of one client. Not reusable once closed.
 *
 * Inputs: `start`, `transportOpened`, `receive`, `heard`, `unreadable`, `transportLost`, `request`, `withdraw`, `sendLossy`,
 * `renew`, `renewFailed`, `reconnectNow`, `tick`, `close`. All take the time in whole milliseconds, which never falls.
 */
export class ClientSession {
  private readonly settings: ClientSettings;
  private readonly credential: Credential;
  private readonly choice: TransportChoice;
  private readonly attempts: Attempts;
  private readonly writer: RequestWriter;
  private phase: Phase = "idle";
  private current: State = stateNamed("idle");
  private welcome: ConnectedFrame | undefined;
  private token: string;
  private connectId = 0;
  /** Those of the last update that was acknowledged. */
  private attributes: Readonly<Record<string, unknown>> | undefined;
  private keepalive = new Keepalive(0, 0, 0);
  // Outputs.
  private outgoing: ClientFrame[] = [];
  private actions: Action[] = [];
  private happened: Event[] = [];

  /** How far this client has read. */
  readonly cursors: Cursors;
  /** Who is in the channel. */
  readonly roster = new Roster();

  /** `jitter` gives numbers in [0, 1). */
  constructor(settings: ClientSettings, jitter: () => number) {
    this.settings = settings;
    this.credential = new Credential(settings.connect.api_key);
    this.choice = new TransportChoice(settings.transports);
    this.cursors = new Cursors(settings.connect.resume);
    this.token = settings.connect.resume?.token ?? "";
    this.attempts = new Attempts(settings, jitter);
    this.writer = new RequestWriter(
      settings,
      this.credential,
      (frame, now) => this.send(frame, now),
      (event) => this.happened.push(event),
    );
  }

  // --- what can be asked ---------------------------------------------------------------------------------

  /** The last state that was told. */
  get state(): State {
    return this.current;
  }

  /** What the server said when it last took this client; `undefined` before. */
  get connected(): ConnectedFrame | undefined {
    return this.welcome;
  }

  /** How many requests have no outcome yet. */
  get openRequests(): number {
    return this.writer.size;
  }

  /** How many of them wait to be sent. */
  get queuedRequests(): number {
    return this.writer.queued;
  }

  /** What proves that a later connect is the same client; empty before the first `connected`. */
  get resumeToken(): string {
    return this.token;
  }

  /** Drains the frames to be sent, in order; they may travel in one batch. */
  framesToSend(): ClientFrame[] {
    const frames = this.outgoing;
    this.outgoing = [];
    return frames;
  }

  /** Drains the actions, to be done in order, after the frames were sent. */
  actionsToDo(): Action[] {
    const actions = this.actions;
    this.actions = [];
    return actions;
  }

  /** Drains the events. */
  events(): Event[] {
    const events = this.happened;
    this.happened = [];
    return events;
  }

  /** When `tick` is to be called at the latest; `undefined`: there is no need to. */
  deadline(): number | undefined {
    const times = [this.writer.nextExpiryMs, this.credential.fetchAt];
    if (!["idle", "closed", "open"].includes(this.phase)) times.push(this.attempts.giveUpAt);
    if (this.phase === "waiting") times.push(this.attempts.retryAt);
    else if (this.phase === "opening" || this.phase === "handshake") times.push(this.attempts.endsAt);
    else if (this.phase === "open") {
      times.push(this.keepalive.pingAt, this.keepalive.silentAt);
      if (this.writer.queued > 0) times.push(this.writer.readyAt);
    }
    const known = times.filter((time) => time !== undefined);
    return known.length > 0 ? Math.min(...known) : undefined;
  }

  // --- the user ------------------------------------------------------------------------------------------

  /** Connects; only once. */
  start(now: number): void {
    if (this.phase !== "idle") {
      throw new ProtocolError("closed", "A session is started once; make a new one.");
    }
    this.attempts.begin(now);
    this.tell(stateNamed("connecting"));
    if (this.credential.apiKey === "" && this.settings.canRenew) {
      this.phase = "credential";
      this.fetchCredential(now, now);
    } else this.open(now);
  }

  /**
   * Takes a request, in any state but closed; gives the handle that its `Done` or `Failed` will bear.
   *
   * The frame's own id is ignored. Throws `ProtocolError` (`queue_full`, `closed`).
   */
  request(frame: ClientFrame, now: number, options: RequestOptions = {}): number {
    if (this.phase === "closed") throw new ProtocolError("closed");
    const handle = this.writer.add(frame, now, options);
    this.writeRequests(now);
    return handle;
  }

  /**
   * Sends a lossy message without asking for an ack. False when it was dropped.
   *
   * That is so when there is no connection, or when more is sent than the server takes.
   */
  sendLossy(frame: SendFrame, now: number): boolean {
    return this.phase === "open" && this.writer.writeLossy(frame, now);
  }

  /** A request that was given out to be sent under this id cannot be sent: it fails. */
  withdraw(requestId: number, error: ErrorFrame): void {
    this.writer.withdraw(requestId, error);
  }

  /** A new credential; asked for by `FetchCredential`, or of the user's own accord. */
  renew(apiKey: string, now: number): void {
    this.credential.renewed(apiKey);
    if (this.phase === "credential") this.open(now);
    else if (this.phase === "open") {
      this.writer.askRenewal(apiKey, now);
      this.writeRequests(now);
    }
  }

  /** There is no new credential: asks again after a while if the error says so, else ends or goes on. */
  renewFailed(error: ErrorFrame, now: number): void {
    const delay = this.attempts.delay(this.credential.failures, error);
    this.credential.failed();
    if (this.phase === "closed") return;
    if (error.is_retryable) {
      this.credential.want(now + delay);
      if (this.phase === "credential") this.tellReconnecting(delay, error);
    } else if (this.phase === "credential") this.end(error);
    else this.happened.push({ event: "trouble", error });
  }

  /** Ends the waiting for the next attempt: the network is back, or somebody pressed a button. */
  reconnectNow(now: number): void {
    if (this.phase === "waiting") this.open(now);
  }

  /** Leaves for good. Requests without an outcome fail with `closed`. */
  close(now: number): void {
    if (this.phase === "closed") return;
    if (this.phase === "open") {
      if (this.keepalive.isPingOwed) this.ping(now);
      this.send({ op: "bye" }, now);
    }
    if (this.hasTransport()) {
      this.actions.push({ do: "close_transport", close_code: NORMAL_CLOSURE, reason: "bye" });
    }
    this.end(failure("closed", "The connection was closed by this side."));
  }

  // --- the transport -------------------------------------------------------------------------------------

  /** What `OpenTransport` asked for is done. */
  transportOpened(now: number): void {
    if (this.phase !== "opening") return;
    this.phase = "handshake";
    this.connectId = this.writer.nextId();
    const resume = this.token ? this.cursors.resume(this.token) : null;
    const connect = { ...this.settings.connect, ...(this.attributes && { attributes: this.attributes }) };
    const { apiKey } = this.credential;
    this.send({ versions: [VERSION], ...connect, id: this.connectId, api_key: apiKey, resume }, now);
  }

  /** A frame came. */
  receive(frame: ServerFrame, now: number): void {
    this.heard(now);
    if (this.phase === "handshake") this.receiveInHandshake(frame, now);
    else if (this.phase === "open") this.receiveInSession(frame, now);
  }

  /** The server gave a sign of life without a frame (an empty poll, a post that was taken). */
  heard(now: number): void {
    this.keepalive.heard(now);
  }

  /** A frame came that can't be read: the live count is no longer sure, so the client connects anew. */
  unreadable(error: ProtocolError, now: number): void {
    if (this.phase !== "handshake" && this.phase !== "open") return;
    this.happened.push({
      event: "trouble",
      error: failure(error.code, error.message),
    });
    this.cursors.forgetLive();
    this.dropTransport("protocol_violation", now, "A frame of the server could not be read.");
  }

  /** The transport could not be opened, or ended: with a close code, or without one. */
  transportLost(closeCode: number | undefined, reason: string, now: number): void {
    if (!this.hasTransport()) return;
    const wasOpen = this.phase === "open";
    const error = failureOfClose(closeCode, reason, wasOpen);
    if (closeCode === undefined || mayReconnect(closeCode)) this.reconnect(error, now, !wasOpen);
    else this.end(error);
  }

  /** Does what is due; may be called at any time. */
  tick(now: number): void {
    this.writer.expire(now);
    if (this.phase === "open") this.tickOpen(now);
    else if (this.phase !== "idle" && this.phase !== "closed") this.tickConnecting(now);
    this.fetchCredential(this.credential.fetchAt, now);
  }

  // --- inside: connecting --------------------------------------------------------------------------------

  private hasTransport(): boolean {
    return this.phase === "opening" || this.phase === "handshake" || this.phase === "open";
  }

  private open(now: number): void {
    this.phase = "opening";
    this.attempts.opened(now);
    if (this.current.name === "reconnecting" && this.current.retry_in_ms > 0) {
      this.tell({ ...this.current, retry_in_ms: 0 });
    }
    this.actions.push({ do: "open_transport", transport: this.choice.current });
  }

  private fetchCredential(at: number | undefined, now: number): void {
    if (at !== undefined) this.credential.want(at);
    if (this.credential.takeDue(now)) this.actions.push({ do: "fetch_credential" });
  }

  private tickConnecting(now: number): void {
    const isTrying = this.phase === "opening" || this.phase === "handshake";
    const { giveUpAt, retryAt, endsAt } = this.attempts;
    if (giveUpAt !== undefined && now >= giveUpAt) {
      if (isTrying)
        this.actions.push({ do: "close_transport", close_code: NORMAL_CLOSURE, reason: "gave up" });
      const last = this.current.why ? ` The last attempt: ${this.current.why}` : "";
      this.end(failure("connect_failed", `The server could not be reached in time.${last}`));
    } else if (this.phase === "waiting" && now >= retryAt) this.open(now);
    else if (isTrying && now >= endsAt) {
      this.dropTransport("timeout", now, "The server did not answer in time.");
    }
  }

  private dropTransport(code: ErrorCode, now: number, why = ""): void {
    const died = this.phase !== "open";
    this.actions.push({ do: "close_transport", close_code: errorInfo(code).closeCode, reason: code });
    this.reconnect(failure(code, why), now, died);
  }

  /** After a loss: waits, then opens again. `died`: before the server had answered. */
  private reconnect(error: ErrorFrame, now: number, died: boolean): void {
    if (died) this.choice.died();
    const wasOpen = this.phase === "open";
    this.outgoing = [];
    this.phase = "waiting";
    this.tellReconnecting(this.attempts.lost(error, now, wasOpen), error);
  }

  private receiveInHandshake(frame: ServerFrame, now: number): void {
    if (frame.op === "connected" && frame.id === this.connectId) {
      this.choice.worked();
      if (this.isMisnamed(frame)) {
        const text = `The server calls this agent '${frame.agent}', which is not the name it asked for.`;
        this.refused(failure("protocol_violation", text), false, now);
      } else this.join(frame, now);
    } else if (frame.op === "error") {
      this.choice.worked();
      this.refused(frame, mayRetry(frame), now);
    } else if (frame.op === "closing") {
      this.choice.worked();
      this.refused(failureOfClosing(frame), mayReconnect(frame.close_code), now);
    } else {
      this.unreadable(
        new ProtocolError("protocol_violation", "The server spoke before it said connected."),
        now,
      );
    }
  }

  /** Whether all that is sealed would bear a name that nobody here has asked for: the others believe it. */
  private isMisnamed({ agent }: ConnectedFrame): boolean {
    const { mode, agent: wanted = "" } = this.settings.connect;
    return mode === "sealed" && wanted !== "" && agent !== wanted.normalize("NFC");
  }

  /** The server will not have this connection (any more). */
  private refused(error: ErrorFrame, mayTryAgain: boolean, now: number): void {
    this.actions.push({ do: "close_transport", close_code: NORMAL_CLOSURE, reason: error.code });
    if (error.code === "expired" && this.settings.canRenew) {
      this.outgoing = [];
      // The first new key is asked for at once; if that is refused, too, not in a hot loop.
      const { refusals } = this.credential;
      const delay = refusals > 0 ? this.attempts.delay(refusals, error) : 0;
      this.credential.refusals += 1;
      this.phase = "credential";
      this.fetchCredential(now + delay, now);
      this.tellReconnecting(delay, error);
    } else if (mayTryAgain) this.reconnect(error, now, false);
    else this.end(error);
  }

  private join(frame: ConnectedFrame, now: number): void {
    const before = this.welcome;
    const missed: Gap = {
      event: "gap",
      durable: this.cursors.epoch !== "" && !frame.recovered,
      live: (before !== undefined || this.cursors.liveEpoch !== "") && !frame.live_recovered,
    };
    this.phase = "open";
    this.attempts.joined(now);
    this.credential.refusals = 0;
    this.welcome = frame;
    this.token = frame.resume_token;
    this.cursors.joined(frame);
    this.roster.list(frame.members);
    this.keepalive = new Keepalive(frame.ping_interval_ms, frame.silence_timeout_ms, now);
    this.writer.joined(frame, now, before?.session_id === frame.session_id);
    this.tellJoined(frame, before, missed);
    this.writeRequests(now);
  }

  private tellJoined(frame: ConnectedFrame, before: ConnectedFrame | undefined, missed: Gap): void {
    this.happened.push({
      event: "joined",
      agent: frame.agent,
      session_id: frame.session_id,
      is_first: before === undefined,
      recovered: frame.recovered,
      live_recovered: frame.live_recovered,
    });
    this.tell({ ...stateNamed("connected"), transport: this.choice.current });
    if (missed.durable || missed.live) this.happened.push(missed);
    if (before === undefined) this.roster.replace(frame.members, new Set());
    else if (!frame.live_recovered) {
      // With it the presence frames that were missed are in the replay.
      this.replaceRoster(frame.members, new Set([before.session_id, frame.session_id]));
    }
  }

  // --- inside: connected ---------------------------------------------------------------------------------

  private tickOpen(now: number): void {
    if (now >= this.keepalive.silentAt) {
      this.dropTransport("keepalive_timeout", now);
      return;
    }
    this.writeRequests(now);
    if (now >= this.keepalive.pingAt) this.ping(now);
  }

  private ping(now: number): void {
    this.outgoing.push({ op: "ping", offset: this.cursors.offset, live_seq: this.cursors.liveSeq });
    this.keepalive.pinged(now);
  }

  /** Whether a message stands in the mailbox of the own name, if that is claimed. */
  private isMail({ delivery, to, filter }: MessageFrame): boolean {
    const isAddressed = to !== undefined || filter !== undefined;
    return delivery === "durable" && isAddressed && isNameIdentity(this.welcome?.identity ?? "");
  }

  private receiveInSession(frame: ServerFrame, now: number): void {
    this.cursors.count(frame);
    switch (frame.op) {
      case "message":
        if (this.cursors.take(frame)) {
          this.happened.push({ event: "message", message: frame });
          if (this.isMail(frame)) this.keepalive.owePing(now + MAIL_READ_MS);
        }
        break;
      case "ack":
      case "history":
      case "members_reply":
      case "ice_servers_reply":
      case "error":
        this.answered(frame);
        break;
      case "presence":
        this.roster.apply(frame);
        this.happened.push({ event: "presence", presence: frame });
        break;
      case "channel":
        this.noteLock(frame.is_locked);
        break;
      case "reset":
        this.reset(frame, now);
        break;
      case "expiring":
        this.expiring(frame, now);
        break;
      case "closing":
        this.refused(failureOfClosing(frame), mayReconnect(frame.close_code), now);
        break;
      case "connected":
        this.unreadable(new ProtocolError("protocol_violation", "The server said connected twice."), now);
        break;
    }
  }

  private reset(frame: ResetFrame, now: number): void {
    this.cursors.reset(frame);
    this.writer.writeAllAgain();
    this.happened.push({ event: "gap", durable: false, live: true });
    if (this.welcome && frame.members) {
      this.replaceRoster(frame.members, new Set([this.welcome.session_id]));
    }
    if (this.welcome && frame.is_locked !== undefined && frame.is_locked !== this.welcome.channel.is_locked) {
      this.noteLock(frame.is_locked);
    }
    this.writeRequests(now);
  }

  private replaceRoster(members: readonly Member[], ownSessions: ReadonlySet<string>): void {
    const presence = this.roster.replace(members, ownSessions);
    if (!isEmpty(presence)) this.happened.push({ event: "presence", presence });
  }

  private answered(frame: Reply | ErrorFrame): void {
    const request = this.writer.answered(frame);
    if (!request || frame.op !== "ack") return;
    if (request.frame.op === "send" && frame.offset !== undefined) this.cursors.acked(frame.offset);
    // A session that begins anew begins with them.
    if (request.frame.op === "update") this.attributes = request.frame.attributes;
  }

  private noteLock(isLocked: boolean): void {
    if (this.welcome) {
      this.welcome = { ...this.welcome, channel: { ...this.welcome.channel, is_locked: isLocked } };
    }
    this.happened.push({ event: "channel", is_locked: isLocked });
  }

  private expiring(frame: ExpiringFrame, now: number): void {
    if (this.settings.canRenew) this.fetchCredential(now, now);
    else this.happened.push({ event: "expiring", expires_in_ms: frame.expires_in_ms });
  }

  // --- inside: sending -----------------------------------------------------------------------------------

  private send(frame: ClientFrame, now: number): void {
    this.outgoing.push(frame);
    this.keepalive.sent(now);
  }

  private writeRequests(now: number): void {
    if (this.phase === "open" && this.welcome) this.writer.write(now, this.welcome);
  }

  // --- inside: states ------------------------------------------------------------------------------------

  private tell(state: State): void {
    if (isSame(state, this.current)) return;
    this.current = state;
    this.happened.push(state);
  }

  private tellReconnecting(delayMs: number, error: ErrorFrame): void {
    this.tell(stateOf(error, "reconnecting", delayMs));
  }

  private end(error: ErrorFrame): void {
    this.phase = "closed";
    this.credential.fetchAt = undefined;
    this.attempts.giveUpAt = undefined;
    this.writer.end(error);
    this.tell(stateOf(error, "closed"));
  }
}

function stateNamed(name: State["name"]): State {
  return {
    event: "state",
    name,
    code: "",
    why: "",
    retry_in_ms: 0,
    transport: null,
    correlation_id: "",
    details: {},
  };
}
