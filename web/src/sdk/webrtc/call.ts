/**
 * Runs one call through the SFU: its connections one after the other, its offers, its signals and its data.
 *
 * Owns the moment at which things happen. Decides nothing by itself: what to offer, what is received, what to send when
 * and how to come back are questions for `negotiation`, `reception`, `delivery` and `recovery`.
 */

import type { AgentConnection } from "../agent/agent";
import type { Message, State } from "../agent/records";
import { errorInfo, ProtocolError } from "../protocol/errors";
import { SFU_AGENT, SIGNAL_TYPE } from "../protocol/sfu";
import { SFU_SIGNALS } from "../protocol/signal-shapes.gen";
import type {
  AnswerSignal,
  ClientSignal,
  RefusedSignal,
  SfuSignal,
  SpeakersSignal,
} from "../protocol/signals.gen";
import { decodeData, type Incoming } from "./delivery";
import { CallEncryption } from "./encryption";
import type { CallEnvironment } from "./environment";
import type { EncryptionState } from "./frame-sealing";
import { Negotiation } from "./negotiation";
import { PeerConnection } from "./peer-connection";
import type { Local } from "./publications";
import { FIRST_SLOTS, Reception, type ReceptionEvent } from "./reception";
import type { CallState } from "./records";
import { type Path, Recovery, type Step } from "./recovery";

/** Refusals of an offer for what is published in it; without that it may go through. */
const OF_PUBLICATIONS = new Set(["codec_not_supported", "e2ee_codec", "forbidden", "too_many_tracks"]);

/** After this an offer for which the server knew no worker is sent again, where the server does not say when. */
const WORKER_AGAIN_MS = 500;

/** Whoever is told what happens in the call. */
export interface CallListener {
  stateChanged(state: CallState): void;
  received(events: readonly ReceptionEvent[]): void;
  speakersChanged(speakers: SpeakersSignal["speakers"]): void;
  data(message: Incoming, isLossy: boolean): void;
  encryptionChanged(publication: string, state: EncryptionState): void;
  failed(error: ProtocolError): void;
  /** A data channel has room again. */
  writable(): void;
}

export class Call {
  readonly reception = new Reception();
  /** Those of the whole helper. */
  private publications: Set<Local>;
  readonly encryption: CallEncryption;
  connection: PeerConnection | undefined;
  private readonly agent: AgentConnection;
  private readonly environment: CallEnvironment;
  private readonly configuration: RTCConfiguration;
  private readonly listener: CallListener;
  private readonly negotiation = new Negotiation();
  private readonly recovery: Recovery;
  private readonly stops: (() => void)[];
  private stopTimer: (() => void) | undefined;
  private told = "";

  constructor(
    agent: AgentConnection,
    environment: CallEnvironment,
    configuration: RTCConfiguration,
    e2ee: boolean | undefined,
    publications: Set<Local>,
    listener: CallListener,
  ) {
    this.publications = publications;
    this.agent = agent;
    this.environment = environment;
    this.configuration = configuration;
    this.listener = listener;
    this.encryption = new CallEncryption(agent, e2ee, environment, {
      stateChanged: (publication, state) => listener.encryptionChanged(publication, state),
      failed: ({ code, message }) => this.end(code, message),
    });
    this.recovery = new Recovery(() => environment.random());
    this.stops = [
      agent.on("signal", (message) => this.signalled(message)),
      agent.on("state", (state) => this.agentIs(state)),
      agent.on("connect", ({ isFirst, liveRecovered }) => {
        const isRenamed = this.encryption.isRenamed();
        if (!isFirst && isRenamed) this.sealAnew();
        if (!isFirst && !liveRecovered) this.resync();
        if (isFirst) void this.offer();
      }),
      environment.onWake(() => this.follow(this.recovery.wake())),
    ];
    // What is published right after the construction is to be part of the first offer.
    queueMicrotask(() => this.agentIs(agent.state));
  }

  get state(): CallState {
    return this.recovery.state(this.environment.nowMs());
  }

  // --- what the helper asks for ------------------------------------------------------------------------------

  publish(publication: Local): void {
    this.publications.add(publication);
    this.connection?.send(publication);
    this.offerAgain();
  }

  unpublish(publication: Local): void {
    if (!this.publications.delete(publication)) return;
    publication.refused(new ProtocolError("closed", "It was unpublished."));
    if (this.connection?.hasOffered(publication)) {
      const { connection } = this.negotiation;
      this.say({ kind: "unpublish", connection, publication: publication.id });
    }
    this.connection?.retire(publication);
    // So that the m-line is inactive on both sides.
    this.offerAgain();
  }

  mute(publication: Local): void {
    this.connection?.attach(publication);
    // An offer that is yet to come says it itself.
    if (!this.connection?.hasOffered(publication)) return;
    const { connection } = this.negotiation;
    const { id, isMuted } = publication;
    this.say({ kind: "mute", connection, publication: id, is_muted: isMuted });
  }

  /** The id of the connection that counts; empty if there is none. */
  get connectionId(): string {
    return this.negotiation.connection;
  }

  /** Whether a data channel is open to the SFU. */
  get isOpen(): boolean {
    return this.recovery.isUp && this.connection?.buffered(false) !== undefined;
  }

  /** Sends a data message; there has to be room. */
  sendNow(bytes: Uint8Array<ArrayBuffer>, isLossy: boolean): void {
    try {
      this.connection?.sendData(isLossy, bytes);
    } catch {
      // The channel closed just now; whoever wants it to arrive keeps it.
    }
  }

  /** Ends the waiting for the next attempt. */
  reconnectNow(): void {
    this.follow(this.recovery.wake());
  }

  /** Leaves the call; what is published goes on elsewhere. */
  leave(): void {
    this.publications = new Set();
    this.close();
  }

  close(code = "closed", why = "The call was closed by this side."): void {
    if (this.recovery.isOver) return;
    const { connection } = this.negotiation;
    if (connection !== "" && this.agent.isConnected) this.say({ kind: "leave", connection });
    this.recovery.finish(code, why);
    this.finished();
  }

  // --- the agent ---------------------------------------------------------------------------------------------

  private agentIs(state: State): void {
    if (this.recovery.isOver) return;
    if (state.name === "closed") this.end(state.code || "closed", state.why || "The agent was disconnected.");
    // The connection is set up while the agent is on its way; its offer waits in the agent's queue.
    else if (state.name !== "idle") this.follow(this.recovery.begin());
  }

  /** Signals may have been lost: an offer brings all announcements anew, and costs no picture. */
  private resync(): void {
    if (this.negotiation.isUnderWay) this.lost("signals_lost", "Signals were lost on the way.");
    else this.offerAgain();
  }

  private signalled({ content }: Message): void {
    const kind = (content as { readonly kind?: unknown } | null)?.kind;
    const shape =
      typeof kind === "string" && Object.hasOwn(SFU_SIGNALS, kind) ? SFU_SIGNALS[kind] : undefined;
    // A newer server may say things that are not known here.
    if (!shape || this.recovery.isOver) return;
    try {
      this.follow(this.take(shape.read(content, "signal", "json") as SfuSignal));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.listener.failed(error);
    }
  }

  private take(signal: SfuSignal): Step {
    const { negotiation, reception } = this;
    switch (signal.kind) {
      case "answer":
        if (negotiation.takesAnswer(signal)) void this.answered(signal);
        return undefined;
      case "refused":
        this.refused(signal);
        return undefined;
      case "publications":
        if (negotiation.takesTerm(signal.term)) this.received(reception.published(signal));
        return undefined;
      case "slots":
        if (signal.connection === negotiation.connection) this.received(reception.bound(signal));
        return undefined;
      case "speakers":
        this.listener.speakersChanged(signal.speakers);
        return undefined;
      case "restart":
        return negotiation.takesTerm(signal.term) ? this.lost("restarted", signal.reason) : undefined;
      case "ended":
        if (signal.connection !== negotiation.connection) return undefined;
        if (isFinal(signal.code)) return this.end(signal.code, signal.message);
        return this.lost(signal.code, signal.message);
    }
  }

  private received(events: readonly ReceptionEvent[]): void {
    const { connection } = this;
    connection?.announce((mid) => this.reception.carriedBy(mid));
    this.listener.received(events);
    if (!connection) return;
    const counts = connection.slotCounts;
    const wanted = this.reception.slotsWanted(counts, this.agent.identity);
    if (wanted.video === counts.video && wanted.audio === counts.audio) return;
    connection.addSlots(wanted);
    this.offerAgain();
  }

  // --- connections -------------------------------------------------------------------------------------------

  private follow(step: Step): void {
    if (step === "open") this.open();
    else if (step === "restart_ice") {
      // An offer that was never answered cannot be followed by another one.
      if (this.negotiation.isUnderWay) this.lost("connection_lost", "The SFU does not answer.");
      else this.offerAgain({ isIceRestart: true });
    }
    this.tell();
  }

  private open(): void {
    this.connection?.close();
    for (const publication of this.publications) publication.isPublished = false;
    this.reception.begin();
    this.negotiation.begin(this.environment.newId());
    const isCurrent = (): boolean => connection === this.connection;
    let connection: PeerConnection;
    try {
      const frames = this.encryption.frames();
      const { environment, configuration, publications } = this;
      connection = new PeerConnection(environment, configuration, publications, FIRST_SLOTS, frames, {
        pathChanged: (path) => isCurrent() && this.pathIs(path),
        broken: () =>
          isCurrent() && this.follow(this.lost("connection_lost", "The SFU closed the connection.")),
        writable: () => isCurrent() && this.listener.writable(),
        received: (bytes, isLossy) => isCurrent() && this.arrived(bytes, isLossy),
      });
    } catch (error) {
      const { code, message } = errorOf(error);
      this.end(code, message);
      return;
    }
    this.connection = connection;
    void this.offer();
  }

  private pathIs(path: Path): void {
    this.follow(this.recovery.pathIs(path, this.environment.nowMs()));
  }

  private lost(code: string, why: string, retryAfterMs = 0): Step {
    const step = this.recovery.lost(code, why, this.environment.nowMs(), retryAfterMs);
    this.tell();
    return step;
  }

  private end(code: string, why: string): undefined {
    this.recovery.finish(code, why);
    this.finished();
  }

  private finished(): void {
    for (const stop of this.stops.splice(0)) stop();
    this.stopTimer?.();
    this.negotiation.end();
    this.listener.received(this.reception.finish());
    this.connection?.close();
    this.connection = undefined;
    this.encryption.close();
    const { code, why } = this.state;
    const error = new ProtocolError(code, why);
    for (const publication of this.publications) publication.refused(error);
    this.publications.clear();
    this.tell();
  }

  // --- offers ------------------------------------------------------------------------------------------------

  private offerAgain(options: { isIceRestart?: boolean } = {}): void {
    this.negotiation.want(options);
    // Once for all that is asked for in one turn, such as the tracks of a stream.
    queueMicrotask(() => void this.offer());
  }

  private async offer(): Promise<void> {
    const { connection, negotiation, recovery } = this;
    if (!this.configuration.iceServers) {
      // They come with the agent's session; what was gathered before it would lack them.
      if (this.agent.identity === "") return;
      connection?.useIceServers(this.agent.iceServers);
    }
    const next = connection && negotiation.next();
    if (!connection || !next) return;
    try {
      const described = await connection.offer(next.isIceRestart);
      if (connection !== this.connection) return;
      await this.sendPatiently(negotiation.offer(described), connection);
      if (connection === this.connection) recovery.offered(this.environment.nowMs());
    } catch (error) {
      if (connection === this.connection) this.notOffered(errorOf(error));
    }
    this.tell();
  }

  /** A server that was started again may not know the worker yet over which media flow all the while. */
  private async sendPatiently(offer: ClientSignal, connection: PeerConnection): Promise<void> {
    while (connection === this.connection) {
      try {
        await this.send(offer);
        return;
      } catch (error) {
        const { code, retryAfterMs } = errorOf(error);
        if (!this.recovery.outlasts(code)) throw error;
        await new Promise<void>((go) => this.environment.startTimer(retryAfterMs || WORKER_AGAIN_MS, go));
      }
    }
  }

  private notOffered({ code, message, isRetryable, retryAfterMs }: ProtocolError): void {
    // A server that knows no SFU does not know its name either.
    if (code === "unknown_recipient") {
      this.lost("no_worker", "This server has no media worker at the moment.");
    } else if (isRetryable || code === "internal") this.lost(code, message, retryAfterMs);
    else this.end(code, message);
  }

  /** Frames go under the agent's new names from now on, and the SFU is told. */
  private sealAnew(): void {
    if (!this.encryption.isOn) return;
    this.connection?.sealAs(this.agent.agentName, this.agent.identity, true);
    this.offerAgain();
  }

  private async answered({ sdp }: AnswerSignal): Promise<void> {
    const { connection } = this;
    if (!connection) return;
    try {
      this.encryption.check();
    } catch (error) {
      const { code, message } = errorOf(error);
      this.end(code, message);
      return;
    }
    try {
      connection.sealAs(this.agent.agentName, this.agent.identity, false);
      const { taken, rejected } = await connection.answer(sdp);
      if (connection !== this.connection) return;
      for (const publication of taken) if (!publication.isPublished) publication.taken();
      for (const publication of rejected) this.drop(publication, "codec_not_supported", "");
    } catch (error) {
      if (connection === this.connection) {
        this.follow(this.lost("bad_answer", `The answer could not be used: ${errorOf(error).message}`));
      }
      return;
    }
    this.negotiation.settle();
    void this.offer();
  }

  private refused(signal: RefusedSignal): void {
    const { code, message, details } = signal;
    const isFirst = signal.number === 1;
    if (!this.negotiation.takesRefusal(signal)) {
      if (signal.connection === this.negotiation.connection && signal.number === undefined) {
        this.listener.failed(new ProtocolError(code, message, { details }));
      }
      return;
    }
    const unpublished = [...this.publications].filter(({ isPublished }) => isFirst || !isPublished);
    if (isFirst && !(OF_PUBLICATIONS.has(code) && unpublished.length > 0)) {
      if (isFinal(code) || code === "room_full") this.end(code, message);
      else this.lost(code, message);
      return;
    }
    for (const publication of unpublished) this.drop(publication, code, message);
    if (isFirst) this.follow(this.lost(code, message));
    else void this.connection?.rollBack().then(() => this.offer());
  }

  /** A publication that the SFU does not take. */
  private drop(publication: Local, code: string, why: string): void {
    this.publications.delete(publication);
    this.connection?.retire(publication);
    const text = why || "The call takes no format in which this browser can send it.";
    publication.refused(new ProtocolError(code, text));
  }

  // --- sending -----------------------------------------------------------------------------------------------

  private send(signal: ClientSignal): Promise<unknown> {
    return this.agent.sendMessage({
      content: signal,
      type: SIGNAL_TYPE,
      to: SFU_AGENT,
      delivery: "live",
      // It waits for the agent's connection as long as that takes; a newer connection makes it void.
      timeoutMs: null,
    });
  }

  /** Sends what the next offer says as well: no harm if it is lost with its connection. */
  private say(signal: ClientSignal): void {
    this.send(signal).catch((error: ProtocolError) => {
      if (!error.isRetryable && error.code !== "closed") this.listener.failed(error);
    });
  }

  private arrived(bytes: Uint8Array, isLossy: boolean): void {
    try {
      this.listener.data(decodeData(bytes), isLossy);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.listener.failed(error);
    }
  }

  // --- time and state ----------------------------------------------------------------------------------------

  private tell(): void {
    this.stopTimer?.();
    this.stopTimer = undefined;
    const nowMs = this.environment.nowMs();
    const deadline = this.recovery.deadlineMs;
    if (deadline !== undefined) {
      this.stopTimer = this.environment.startTimer(Math.max(0, deadline - nowMs), () =>
        this.follow(this.recovery.timePassed(this.environment.nowMs())),
      );
    }
    const state = this.recovery.state(nowMs);
    const mark = JSON.stringify([state.name, state.code, state.why, state.retryInMs > 0]);
    if (mark === this.told) return;
    this.told = mark;
    this.listener.stateChanged(state);
  }
}

/** Whether a new connection would end in the same way; codes that are not known here may pass. */
function isFinal(code: string): boolean {
  const { isRetryable, meaning } = errorInfo(code);
  return !isRetryable && meaning !== UNKNOWN_MEANING;
}

const UNKNOWN_MEANING = errorInfo("").meaning;

function errorOf(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  return new ProtocolError("internal", error instanceof Error ? error.message : String(error));
}
