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

import { randomBytes } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import type { ClientFrame, IceServersReplyFrame, SendFrame } from "../protocol/frames.gen";
import type { Done, Event, Joined, State as MachineState } from "../protocol/session/outputs";
import { AgentView, IDLE } from "./agent-view";
import { Driver } from "./driver";
import { browserEnvironment, type Environment } from "./environment";
import type { ConnectInfo } from "./events";
import { IceRenewal } from "./ice-renewal";
import { kindOf } from "./inbox";
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
  stateOf,
} from "./records";
import type { Opened } from "./sealed-channel";
import { Sequence } from "./sequence";

type Reply = Done["reply"];

/** One agent. May connect again after `disconnect`; to be in two channels, make two. */
export class AgentConnection extends AgentView {
  private readonly environment: Environment;
  private readonly lineageSecret = randomBytes(16);
  private readonly replies = new Map<
    number,
    { done: (reply: Reply) => void; failed: (error: Error) => void }
  >();
  /** What happened, as far as it waits for something to be opened. */
  private incoming = new Sequence();
  /** The public attributes that were asked for last. */
  private attributes: Readonly<Record<string, unknown>> = {};
  /** The types of messages that were asked for; empty: all. */
  private wanted: readonly string[] = [];
  private memory: PageMemory | undefined;
  private stops: (() => void)[] = [];
  private finishConnect: { done: (info: ConnectInfo) => void; failed: (error: Error) => void } | undefined;
  /** Rises with every connect and disconnect, so that what began for an earlier one can tell. */
  private generation = 0;
  protected readonly ice: IceRenewal;

  constructor(environment: Environment = browserEnvironment) {
    super();
    this.environment = environment;
    this.ice = new IceRenewal(environment, {
      ask: () => this.askIce(),
      isConnected: () => this.isConnected,
      told: (servers) => this.emitter.emit("iceServers", servers),
    });
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
    return this.outcome((done, failed) => {
      this.ice.get(this.welcome !== undefined).then(done, failed);
    });
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
    this.ice.stop();
    this.memory?.forget();
    this.memory = undefined;
    this.early.failAll(error);
    const { finishConnect } = this;
    this.finishConnect = undefined;
    this.tell(state);
    finishConnect?.failed(error);
  }

  // --- inside: what happened -----------------------------------------------------------------------------

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
    const kind = kindOf(message, this.wanted);
    if (kind === "message") this.emitter.emit(kind, message, this.onMessage);
    else if (kind) this.emitter.emit(kind, message);
  }

  private happenedRarely(event: Event): void {
    if (event.event === "trouble") this.emitter.emit("error", errorOf(event.error), this.onError);
    else if (event.event === "gap") this.emitter.emit("gap", { durable: event.durable, live: event.live });
    else if (event.event === "expiring") this.emitter.emit("expiring", { expiresInMs: event.expires_in_ms });
    else if (event.event === "channel" && this.channel) this.emitter.emit("channel", this.channel);
  }

  private joined(event: Joined): void {
    this.remember();
    if (this.welcome) this.ice.take(this.welcome);
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

  private askIce(): Promise<IceServersReplyFrame> {
    return this.outcome((done, failed) => {
      this.whenReady(failed, (driver) =>
        this.ask(driver, { op: "ice_servers", id: 1 }, failed, (reply) =>
          done(reply as IceServersReplyFrame),
        ),
      );
    });
  }

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

function asError(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  return new ProtocolError("internal", error instanceof Error ? error.message : String(error));
}
