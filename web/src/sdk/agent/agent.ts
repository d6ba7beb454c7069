/**
 * `AgentConnection`: a named agent in a channel.
 *
 * Owns what users of the SDK see: methods, events, properties. Never decides anything about the session, which is the
 * machine's task (`protocol/session/client.ts`).
 *
 *     const agent = new AgentConnection();
 *     agent.onMessage = (message) => console.log(message.sender, message.content);
 *     agent.connect({ channelName: "lobby", agentName: "player-1" });
 *     agent.sendTextMessage("Hello!");
 */

import { type Bytes, randomBytes, toHex } from "../crypto/bytes";
import { isNameIdentity } from "../protocol/channel";
import { ProtocolError } from "../protocol/errors";
import type {
  ClientFrame,
  ConnectedFrame,
  IceServersReplyFrame,
  LimitsInfo,
  SendFrame,
} from "../protocol/frames.gen";
import { GROUP_AGENT, PEER_DATA_TYPE } from "../protocol/group";
import type { Done, Event, Joined, State as MachineState } from "../protocol/session/outputs";
import { SFU_AGENT, SIGNAL_TYPE } from "../protocol/sfu";
import { isObject } from "../protocol/shape";
import { Driver } from "./driver";
import { EarlyCalls } from "./early-calls";
import { Emitter } from "./emitter";
import { browserEnvironment, type Environment } from "./environment";
import type { AgentEvents, Callback, ConnectInfo } from "./events";
import { IceServers } from "./ice-servers";
import {
  type ConnectOptions,
  checkNothingPrivate,
  type MessageOptions,
  type ReceiveOptions,
  receiveFrameOf,
  sendFrameOf,
  wantedTypes,
  wantsSealed,
} from "./options";
import { Outcome } from "./outcome";
import type { PageMemory } from "./page-memory";
import { onPageGone, part } from "./parting";
import { prepare } from "./preparation";
import {
  type Ack,
  ackOf,
  type Channel,
  errorOf,
  errorOfState,
  type History,
  historyOf,
  lossyAck,
  type Member,
  type Message,
  memberOf,
  messageOf,
  presenceOf,
  type State,
  stateOf,
} from "./records";
import type { Opened, SealedChannel, SealingCounters } from "./sealed-channel";
import { Sequence } from "./sequence";

type Reply = Done["reply"];

const SERVICES: readonly string[] = [SFU_AGENT, GROUP_AGENT];
const IDLE: MachineState = {
  event: "state",
  name: "idle",
  code: "",
  why: "",
  retry_in_ms: 0,
  transport: null,
  correlation_id: "",
  details: {},
};

/** One agent. May connect again after `disconnect`; to be in two channels, make two. */
export class AgentConnection {
  onMessage: Callback<"message"> = null;
  onConnect: Callback<"connect"> = null;
  onDisconnect: Callback<"disconnect"> = null;
  onError: Callback<"error"> = null;
  onState: Callback<"state"> = null;
  onPresence: Callback<"presence"> = null;

  private readonly environment: Environment;
  private readonly emitter = new Emitter<AgentEvents>();
  private readonly lineageSecret = randomBytes(16);
  private readonly replies = new Map<
    number,
    { done: (reply: Reply) => void; failed: (error: Error) => void }
  >();
  private current: MachineState = IDLE;
  private driver: Driver | undefined;
  private sealed: SealedChannel | undefined;
  /** What happened, as far as it waits for something to be opened. */
  private incoming = new Sequence();
  /** The public attributes that were asked for last. */
  private attributes: Readonly<Record<string, unknown>> = {};
  /** The types of messages that were asked for; empty: all. */
  private wanted: readonly string[] = [];
  private readonly early = new EarlyCalls();
  private memory: PageMemory | undefined;
  private stops: (() => void)[] = [];
  private finishConnect: { done: (info: ConnectInfo) => void; failed: (error: Error) => void } | undefined;
  /** Rises with every connect and disconnect, so that what began for an earlier one can tell. */
  private generation = 0;
  private wantedName = "";
  private wantsRelay = true;
  private readonly ice = new IceServers();
  private stopIceTimer: (() => void) | undefined;
  private iceAsked: Promise<readonly RTCIceServer[]> | undefined;
  private channelKeys: { readonly isSealed: boolean; readonly mediaKey: Bytes | undefined } | undefined;

  constructor(environment: Environment = browserEnvironment) {
    this.environment = environment;
  }

  // --- what can be asked ---------------------------------------------------------------------------------

  /** Where the connection stands. */
  get state(): State {
    return stateOf(this.current);
  }

  get isConnected(): boolean {
    return this.current.name === "connected";
  }

  /** This agent's name: as the server took it, or as wanted before. */
  get agentName(): string {
    return this.welcome?.agent ?? this.wantedName;
  }

  /** Public; empty before the first connect. */
  get sessionId(): string {
    return this.welcome?.session_id ?? "";
  }

  /** Who this agent is, beyond the name; empty before the first connect. */
  get identity(): string {
    return this.welcome?.identity ?? "";
  }

  /** Whether the own name is claimed: nobody else can bear it here, and mail is kept for it. */
  get isClaimed(): boolean {
    return isNameIdentity(this.identity);
  }

  /** Who is in the channel, this agent included, by join order. */
  get members(): Member[] {
    return this.driver?.session.roster.members.map((member) => memberOf(member, this.privateOf)) ?? [];
  }

  /** What the server said of the channel; `undefined` before the first connect. */
  get channel(): Channel | undefined {
    const channel = this.welcome?.channel;
    return (
      channel && {
        id: toHex(channel.id),
        name: channel.name,
        // Decided by this side: what the server says does not count.
        mode: this.isSealed ? "sealed" : "open",
        scope: channel.scope,
        hasPassword: channel.has_password,
        isLocked: channel.is_locked,
      }
    );
  }

  /** Whether the channel is joined as a sealed one. Decided by this side: what the server says does not count. */
  get isSealed(): boolean {
    return this.channelKeys?.isSealed ?? false;
  }

  /** What a call's frames are sealed with; `undefined` without a password, and until the key is derived. */
  get mediaKey(): Bytes | undefined {
    return this.channelKeys?.mediaKey;
  }

  /**
   * Thirty digits that two people can read to each other: they are the same if both have the same channel and the same
   * password. Empty in an open channel.
   */
  get safetyNumber(): string {
    return this.sealed?.safetyNumber ?? "";
  }

  /** What became of sealed messages since this agent connected. */
  get sealingCounters(): SealingCounters {
    return this.sealed?.counters ?? { sealed: 0, opened: 0, refused: 0, dropped: 0 };
  }

  /** What this agent's key allows here. */
  get operations(): readonly string[] {
    return this.welcome?.operations ?? [];
  }

  /**
   * STUN and TURN servers for peer connections, with credentials that are renewed before they end.
   *
   * Empty before the first connect, and where the server has none.
   */
  get iceServers(): readonly RTCIceServer[] {
    return this.ice.servers;
  }

  /** Whether peers may be reached by the server where there is no direct way, as `connect` was told. */
  get isRelayEnabled(): boolean {
    return this.wantsRelay;
  }

  /** What the server takes; `undefined` before the first connect. */
  get limits(): LimitsInfo | undefined {
    return this.welcome?.limits;
  }

  /** How many requests wait for the connection. */
  get queuedRequests(): number {
    return (this.driver?.session.queuedRequests ?? 0) + this.early.size;
  }

  // --- events --------------------------------------------------------------------------------------------

  /** Adds a listener; gives a function that takes it away again. */
  on<K extends keyof AgentEvents>(event: K, listener: (value: AgentEvents[K]) => unknown): () => void {
    return this.emitter.on(event, listener);
  }

  /** Takes a listener away; without one, all of this event. */
  off<K extends keyof AgentEvents>(event: K, listener?: (value: AgentEvents[K]) => unknown): void {
    this.emitter.off(event, listener);
  }

  // --- the connection ------------------------------------------------------------------------------------

  /**
   * Connects, and stays connected until `disconnect` or a final refusal.
   *
   * Need not be awaited: what is asked for meanwhile waits, and a failure then goes to `onError`.
   */
  connect(options: ConnectOptions): Promise<ConnectInfo> {
    return this.outcome((done, failed) => {
      if (this.current.name !== "idle" && this.current.name !== "closed") {
        throw new ProtocolError("bad_request", "This agent is connected already; disconnect it first.");
      }
      this.generation += 1;
      this.finishConnect = { done, failed };
      this.driver = undefined;
      this.sealed = undefined;
      // A call that is set up meanwhile has to know it before the keys are there.
      this.channelKeys = { isSealed: wantsSealed(options), mediaKey: undefined };
      this.wantedName = options.agentName ?? "";
      this.wantsRelay = options.enableWebrtcRelay ?? true;
      this.tell({ ...IDLE, name: "connecting" });
      const { generation } = this;
      this.begin(options, generation).catch((error: unknown) => {
        if (generation === this.generation) this.failEarly(asError(error));
      });
    });
  }

  /** Leaves the channel for good; what has no outcome yet fails with `closed`. */
  disconnect(): Promise<void> {
    this.generation += 1;
    if (this.driver) {
      this.memory?.forget();
      this.memory = undefined;
      this.driver.close();
      this.incoming.hurry();
    } else if (this.current.name === "connecting") {
      this.failEarly(new ProtocolError("closed", "The connection was closed by this side."));
    }
    return Promise.resolve();
  }

  /** Ends the waiting for the next attempt to reconnect. */
  reconnectNow(): void {
    this.driver?.wake();
  }

  /** Puts a new key in the place of one that is about to end. */
  renew(apiKey: string): void {
    this.driver?.renew(apiKey);
  }

  // --- messages ------------------------------------------------------------------------------------------

  /** Sends a text to everyone, durably. */
  sendTextMessage(text: string): Promise<Ack> {
    return this.sendMessage({ content: text });
  }

  /**
   * Sends a message; a text alone is sent to everyone.
   *
   * The ack of a durable message means that it is stored. A lossy one has no ack to wait for. Rejects with a
   * `PeerbusError`, whose `code` says why.
   */
  sendMessage(message: MessageOptions | string): Promise<Ack> {
    return this.outcome((done, failed) => {
      const options = typeof message === "string" ? { content: message } : message;
      const frame = sendFrameOf(options);
      this.whenReady(failed, (driver) => {
        const sent = this.sealed?.enclosed(frame) ?? frame;
        if (frame.delivery === "lossy") done(lossyAck(!driver.sendLossy(sent)));
        else {
          const answered = (reply: Reply): void => done(ackOf(reply as Extract<Reply, { op: "ack" }>));
          this.ask(driver, sent, failed, answered, options.timeoutMs);
        }
      });
    });
  }

  /** Reads stored messages: the newest page, or a range. */
  receive(range: ReceiveOptions = {}): Promise<History> {
    return this.outcome((done, failed) => {
      const frame = receiveFrameOf(range);
      this.whenReady(failed, (driver) =>
        this.ask(driver, frame, failed, (reply) =>
          done(historyOf(reply as Extract<Reply, { op: "history" }>)),
        ),
      );
    });
  }

  // --- members -------------------------------------------------------------------------------------------

  /** Asks the server who is here; `members` has the same without asking. */
  fetchMembers(): Promise<Member[]> {
    return this.outcome((done, failed) => {
      this.whenReady(failed, (driver) =>
        this.ask(driver, { op: "members", id: 1 }, failed, (reply) =>
          done(
            (reply as Extract<Reply, { op: "members_reply" }>).members.map((member) =>
              memberOf(member, this.privateOf),
            ),
          ),
        ),
      );
    });
  }

  /** The `iceServers`; asks for new ones first where the credentials have less than half of their time left. */
  getIceServers(): Promise<readonly RTCIceServer[]> {
    if (this.welcome && this.ice.areFresh(this.environment.nowMs())) return Promise.resolve(this.iceServers);
    this.iceAsked ??= this.outcome<readonly RTCIceServer[]>((done, failed) => {
      const ended = (error: Error): void => {
        this.iceAsked = undefined;
        failed(error);
      };
      this.whenReady(ended, (driver) =>
        this.ask(driver, { op: "ice_servers", id: 1 }, ended, (reply) => {
          this.iceAsked = undefined;
          this.iceTold(reply as Extract<Reply, { op: "ice_servers_reply" }>);
          done(this.iceServers);
        }),
      );
    });
    return this.iceAsked;
  }

  /**
   * Replaces this agent's own attributes, which everyone in the channel sees.
   *
   * `privateAttributes` replace those that the server cannot read, in a sealed channel; left out, those stay.
   */
  setAttributes(
    attributes: Readonly<Record<string, unknown>>,
    privateAttributes?: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    return this.outcome((done, failed) => {
      this.whenReady(failed, (driver) => {
        // A copy, since the private ones go with this very object.
        const own = { ...attributes };
        if (this.sealed) this.sealed.hide(own, privateAttributes);
        else checkNothingPrivate(privateAttributes);
        this.attributes = own;
        this.ask(driver, { op: "update", id: 1, attributes: own }, failed, () => done());
      });
    });
  }

  /** Removes a member, by name or by session; the key has to allow it. */
  kick(target: string | { agentName?: string; sessionId?: string }, reason = ""): Promise<void> {
    const { agentName, sessionId } = typeof target === "string" ? { agentName: target } : target;
    return this.command({
      op: "kick",
      id: 1,
      reason,
      ...(agentName === undefined ? {} : { agent: agentName }),
      ...(sessionId === undefined ? {} : { session_id: sessionId }),
    });
  }

  /** Closes the channel to newcomers; the key has to allow it. */
  lock(): Promise<void> {
    return this.command({ op: "lock", id: 1, locked: true });
  }

  /** Opens the channel to newcomers again. */
  unlock(): Promise<void> {
    return this.command({ op: "lock", id: 1, locked: false });
  }

  // --- inside: connecting --------------------------------------------------------------------------------

  private get welcome() {
    return this.driver?.session.connected;
  }

  private async begin(options: ConnectOptions, generation: number): Promise<void> {
    const isWanted = (): boolean => generation === this.generation;
    const prepared = await prepare(options, this.lineageSecret, isWanted);
    if (!prepared) return;
    this.wanted = wantedTypes(options);
    const { settings, transport, memory, mediaKey, sealed, fetchKey } = prepared;
    this.sealed = sealed;
    this.incoming = new Sequence();
    this.attributes = settings.connect.attributes ?? {};
    this.channelKeys = { isSealed: settings.connect.mode === "sealed", mediaKey };
    const happened = (event: Event): void => this.happened(event);
    const driver = new Driver(settings, transport, this.environment, { happened, fetchKey }, sealed);
    this.memory = memory;
    this.driver = driver;
    const wake = (): void => driver.wake();
    this.stops = [
      this.environment.onWake(wake),
      onPageGone(
        () => this.pageGone(driver, transport.base),
        () => driver.resume(),
      ),
    ];
    driver.start();
    this.early.makeAll(driver);
  }

  /** Keeps the cursor of this moment (a crash leaves an older one, and some messages come twice), and says goodbye. */
  private pageGone(driver: Driver, base: string): void {
    this.remember();
    if (this.welcome) part(base, this.welcome, this.memory !== undefined);
    // Else it would come back in the moment that is left.
    driver.pause();
  }

  private remember(): void {
    const session = this.driver?.session;
    if (session?.resumeToken) this.memory?.store(session.cursors.resume(session.resumeToken));
  }

  /** Ends a connect that never came as far as a session. */
  private failEarly(error: ProtocolError): void {
    this.ended({
      ...IDLE,
      name: "closed",
      code: error.code,
      why: error.message,
      correlation_id: error.correlationId,
      details: error.details,
    });
  }

  private ended(state: MachineState): void {
    const error = errorOfState(state);
    for (const stop of this.stops.splice(0)) stop();
    this.stopIceTimer?.();
    this.memory?.forget();
    this.memory = undefined;
    this.early.failAll(error);
    const { finishConnect } = this;
    this.finishConnect = undefined;
    this.tell(state);
    finishConnect?.failed(error);
  }

  // --- inside: STUN and TURN servers -----------------------------------------------------------------------

  private iceTold(told: ConnectedFrame | IceServersReplyFrame): void {
    this.ice.told(told.ice_servers, told.ice_expires_in_ms, this.environment.nowMs());
    this.planIce();
    this.emitter.emit("iceServers", this.iceServers);
  }

  private planIce(): void {
    this.stopIceTimer?.();
    this.stopIceTimer = undefined;
    const { renewAtMs } = this.ice;
    if (renewAtMs === undefined || this.current.name === "closed") return;
    const delayMs = Math.max(0, renewAtMs - this.environment.nowMs());
    this.stopIceTimer = this.environment.startTimer(delayMs, () => this.renewIce());
  }

  private renewIce(): void {
    // Without a connection they come with the next `connected`.
    if (!this.isConnected) return;
    this.getIceServers().catch(() => {
      this.ice.failed(this.environment.nowMs());
      this.planIce();
    });
  }

  // --- inside: what happened -----------------------------------------------------------------------------

  private readonly privateOf = (sessionId: string): Readonly<Record<string, unknown>> =>
    this.sealed?.attributesOf(sessionId) ?? {};

  /** Passes an event on, in order: one that has to be opened first holds up all that come after it. */
  private happened(event: Event): void {
    const { sealed, driver, incoming } = this;
    const session = driver?.session;
    const opening = session && sealed?.opened(event, session.cursors.epoch, () => session.roster.members);
    if (!opening) incoming.add(() => this.deliver(event));
    else {
      const step = opening.then((judge) => () => this.deliverOpened(judge()));
      incoming.add(step, () => this.deliverUnopened(event));
    }
  }

  private deliverOpened({ event, refused }: Opened): void {
    for (const error of refused) this.emitter.emit("error", error, this.onError);
    if (event) this.deliver(event);
  }

  /** The agent disconnects: what is not open by now is not shown any more. */
  private deliverUnopened(event: Event): void {
    if (event.event === "done") {
      this.takeReply(event.handle)?.failed(new ProtocolError("closed", "Disconnected before it was opened."));
    } else if (event.event !== "message") this.deliver(event);
  }

  private deliver(event: Event): void {
    switch (event.event) {
      case "state":
        if (event.name === "closed") this.ended(event);
        else this.tell(event);
        break;
      case "joined":
        this.joined(event);
        break;
      case "message":
        this.heard(messageOf(event.message));
        break;
      case "presence":
        this.emitter.emit("presence", presenceOf(event.presence, this.privateOf), this.onPresence);
        break;
      case "done":
        this.takeReply(event.handle)?.done(event.reply);
        break;
      case "failed":
        this.takeReply(event.handle)?.failed(errorOf(event.error));
        break;
      default:
        this.happenedRarely(event);
    }
  }

  private heard(message: Message): void {
    const isSignal = SERVICES.includes(message.sender) && message.type === SIGNAL_TYPE;
    if (isSignal) this.emitter.emit("signal", message);
    else if (isOfPeer(message)) this.emitter.emit("peer", message);
    else if (this.isWanted(message)) this.emitter.emit("message", message, this.onMessage);
  }

  /** More types are pushed than were asked for. */
  private isWanted({ type, customEventType }: Message): boolean {
    const { wanted } = this;
    return wanted.length === 0 || wanted.includes(type) || wanted.includes(customEventType ?? "");
  }

  private happenedRarely(event: Event): void {
    if (event.event === "trouble") this.emitter.emit("error", errorOf(event.error), this.onError);
    else if (event.event === "gap") this.emitter.emit("gap", { durable: event.durable, live: event.live });
    else if (event.event === "expiring") this.emitter.emit("expiring", { expiresInMs: event.expires_in_ms });
    else if (event.event === "channel" && this.channel) this.emitter.emit("channel", this.channel);
  }

  private joined(event: Joined): void {
    this.remember();
    if (this.welcome) this.iceTold(this.welcome);
    const info: ConnectInfo = {
      agentName: event.agent,
      sessionId: event.session_id,
      isFirst: event.is_first,
      recovered: event.recovered,
      liveRecovered: event.live_recovered,
    };
    if (this.sealed?.owes(this.attributes, event.agent)) this.sealAttributes();
    this.emitter.emit("connect", info, this.onConnect);
    this.finishConnect?.done(info);
    this.finishConnect = undefined;
  }

  /** Private attributes are bound to the name, which the server has only now given, or changed. */
  private sealAttributes(): void {
    const told = (error: Error): unknown => this.emitter.emit("error", asError(error), this.onError);
    this.whenReady(told, (driver) => {
      this.ask(driver, { op: "update", id: 1, attributes: this.attributes }, told, () => undefined);
    });
  }

  private tell(state: MachineState): void {
    const before = this.current.name;
    if (state.name === before && state.name === "connecting") return;
    this.current = state;
    this.emitter.emit("state", stateOf(state), this.onState);
    const isLost = state.name === "reconnecting" && before === "connected";
    if (isLost || state.name === "closed") {
      const { code, why, correlation_id: correlationId } = state;
      const info = { willReconnect: isLost, code, why, correlationId };
      this.emitter.emit("disconnect", info, this.onDisconnect);
    }
  }

  // --- inside: requests ----------------------------------------------------------------------------------

  private command(frame: ClientFrame): Promise<void> {
    return this.outcome((done, failed) => {
      this.whenReady(failed, (driver) => this.ask(driver, frame, failed, () => done()));
    });
  }

  private ask(
    driver: Driver,
    frame: ClientFrame | SendFrame,
    failed: (error: Error) => void,
    done: (reply: Reply) => void,
    timeoutMs?: number | null,
  ): void {
    const options = timeoutMs === undefined ? {} : { timeoutMs };
    this.replies.set(driver.request(frame, options), { done, failed });
  }

  private takeReply(handle: number) {
    const reply = this.replies.get(handle);
    this.replies.delete(handle);
    return reply;
  }

  /** Does it now, or once there is a session; `fail` gets the error of either. */
  private whenReady(fail: (error: Error) => void, action: (driver: Driver) => void): void {
    const make = (driver: Driver): void => {
      try {
        action(driver);
      } catch (error) {
        fail(asError(error));
      }
    };
    if (this.driver) make(this.driver);
    else if (this.current.name === "connecting") this.early.add(make, fail);
    else fail(new ProtocolError("closed", "This agent is not connected; call connect first."));
  }

  /** A promise whose failure goes to `onError` if nobody looks at it. */
  private outcome<T>(begin: (done: (value: T) => void, failed: (error: Error) => void) => void): Promise<T> {
    const settle = (done: (value: T) => void, failed: (error: Error) => void): void => {
      try {
        begin(done, failed);
      } catch (error) {
        failed(asError(error));
      }
    };
    return Outcome.of<T>(settle, (error) => this.emitter.emit("error", asError(error), this.onError));
  }
}

/** Whether another member's `WebRTCHelper` says it to this one's. */
function isOfPeer({ delivery, type, content }: Message): boolean {
  if (delivery === "durable" || (type !== PEER_DATA_TYPE && type !== SIGNAL_TYPE)) return false;
  if (type === PEER_DATA_TYPE) return content instanceof Uint8Array;
  const kind = isObject(content) ? content["kind"] : undefined;
  return typeof kind === "string" && kind.startsWith("peer_");
}

function asError(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  return new ProtocolError("internal", error instanceof Error ? error.message : String(error));
}
