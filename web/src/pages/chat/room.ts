/**
 * The room: one connected channel on the page.
 *
 * Owns what ties the agent to the lists, the composer and the notices. Never decides about the connection, and finds
 * no words; see `channel/wording.ts`.
 */

import type { AgentConnection } from "../../sdk/agent/agent";
import type { History, Member, Message, State } from "../../sdk/agent/records";
import { SealingError } from "../../sdk/agent/sealing-error";
import { ProtocolError } from "../../sdk/protocol/errors";
import { askToRemove, closeDialogs, showOpenness, showPeopleSheet, showShare } from "../channel/dialogs";
import { failureWording, openness, queuedWords, refusedWords, typingWords } from "../channel/wording";
import { byId } from "../elements/element";
import { icon } from "../elements/icon";
import { notice } from "../elements/notice";
import { Composer } from "./composer";
import { ConnectionView } from "./connection-view";
import { MessageList } from "./message-list";
import { showPeople } from "./people-list";
import { PresenceLines } from "./presence-lines";
import { Transcript } from "./transcript";
import { OthersTyping, OwnTyping, TYPING_TYPE } from "./typing";

const HISTORY_PAGE = 50;
const CHAT_TYPE = "chat-text";
/** What an envelope adds to a text, rounded up. */
const SEALED_BYTES = 64;

/** The types that this page wants to have pushed. */
export const ROOM_TYPES = [CHAT_TYPE, TYPING_TYPE];

export interface RoomCallbacks {
  /** The link to this channel. */
  readonly link: () => string;
  /** Back to the lobby. */
  readonly leave: () => void;
  /** Join again, as after an expired key. */
  readonly rejoin: () => void;
}

export class Room {
  private readonly agent: AgentConnection;
  private readonly callbacks: RoomCallbacks;
  private readonly transcript = new Transcript();
  private readonly list: MessageList;
  private readonly composer: Composer;
  private readonly connection: ConnectionView;
  private readonly presence: PresenceLines;
  private readonly ownTyping = new OwnTyping();
  private readonly othersTyping = new OthersTyping();
  private readonly notices = byId("notices", HTMLElement);
  private typingTimer: ReturnType<typeof setTimeout> | undefined;
  private unread = 0;
  private hasHistory = false;
  private isDrawing = false;

  constructor(agent: AgentConnection, callbacks: RoomCallbacks) {
    this.agent = agent;
    this.callbacks = callbacks;
    const messages = byId("messages", HTMLElement);
    messages.replaceChildren();
    this.notices.replaceChildren();
    this.list = new MessageList(messages, byId("scroller", HTMLElement), (key) => this.retry(key));
    this.composer = new Composer({
      send: (text, to) => this.send(text, to),
      typing: (to) => this.sayTyping(to),
    });
    const { leave, rejoin } = callbacks;
    this.connection = new ConnectionView({ tryNow: () => agent.reconnectNow(), rejoin, leave });
    this.presence = new PresenceLines(agent, (text) => this.happened(text));
    this.wireButtons();
    agent.onMessage = (message) => this.received(message);
    agent.onPresence = (presence) => {
      this.presence.changed(presence);
      this.showPeople();
    };
    agent.onError = (error) => {
      if (error instanceof SealingError) this.refused(error);
      else this.tellTrouble(error);
    };
    agent.on("channel", ({ isLocked }) => {
      this.happened(isLocked ? "The channel was locked: newcomers are kept out" : "The channel was unlocked");
      this.showHead();
    });
    agent.on("gap", ({ durable }) => this.tellGap(durable));
  }

  /** The agent is in: shows who is here and what was said. */
  entered(): void {
    this.presence.entered();
    this.showHead();
    this.showPeople();
    this.composer.isEnabled = true;
    this.composer.clear();
    this.stateChanged(this.agent.state);
    void this.loadHistory();
  }

  stateChanged(state: State): void {
    this.transcript.connectionChanged(state.name === "connected");
    this.composer.isEnabled = state.name !== "closed";
    this.connection.show(state);
    this.draw();
  }

  /** The page is used for something else from here on. */
  close(): void {
    this.list.close();
    this.connection.close();
    this.presence.close();
    clearTimeout(this.typingTimer);
    closeDialogs();
  }

  // --- messages ------------------------------------------------------------------------------------------

  private isOwn(message: Pick<Message, "identity">): boolean {
    return message.identity === this.agent.identity;
  }

  private received(message: Message): void {
    if (message.type === TYPING_TYPE) {
      if (!this.isOwn(message)) this.othersTyping.typing(message.identity, message.sender, performance.now());
      this.showTyping();
      return;
    }
    this.othersTyping.ended(message.identity);
    this.showTyping();
    const isNew = this.transcript.received(message, this.isOwn(message));
    if (isNew && (!this.list.isNearEnd || document.hidden)) this.unread += 1;
    this.draw();
  }

  /** A line in the place of a message that could not be opened. */
  private refused(error: SealingError): void {
    // Of what is not kept nobody misses a line.
    if (error.delivery !== "durable") return;
    this.transcript.happened(refusedWords(error), error.timeMs ?? Date.now(), error.offset);
    this.draw();
  }

  private send(text: string, to: string | undefined): boolean {
    const { limits, isSealed } = this.agent;
    const limit = (limits?.message_bytes ?? Infinity) - (isSealed ? SEALED_BYTES : 0);
    const size = new TextEncoder().encode(text).length;
    if (size > limit) {
      const why = `It has ${size.toLocaleString()} bytes; the server takes ${limit.toLocaleString()}.`;
      this.tellTrouble(new ProtocolError("too_large", why));
      return false;
    }
    const { agentName: sender, identity } = this.agent;
    const key = this.transcript.own({
      timeMs: Date.now(),
      sender,
      identity,
      content: text,
      to: to === undefined ? undefined : [to],
      isWaiting: !this.agent.isConnected,
    });
    this.ownTyping.ended();
    this.list.toEnd();
    void this.deliver(key);
    return true;
  }

  private retry(key: string): void {
    this.transcript.retried(key, !this.agent.isConnected);
    void this.deliver(key);
  }

  private async deliver(key: string): Promise<void> {
    const entry = this.transcript.find(key);
    if (!entry) return;
    const sending = this.agent.sendMessage({ content: entry.content, type: CHAT_TYPE, to: entry.to });
    this.draw();
    try {
      this.transcript.stored(key, await sending);
    } catch (error) {
      const { code, message, correlationId } = error as ProtocolError;
      this.transcript.failed(key, { code, why: message, correlationId });
    }
    this.draw();
  }

  private async loadHistory(): Promise<void> {
    // What was said before is not read out all at once.
    const messages = byId("messages", HTMLElement);
    messages.ariaBusy = "true";
    try {
      const page = await this.agent.receive({ limit: HISTORY_PAGE, types: [CHAT_TYPE] });
      this.addHistory(page);
    } catch (error) {
      this.showHistory(true);
      this.tellTrouble(error as ProtocolError);
    }
    setTimeout(() => {
      messages.ariaBusy = "false";
    });
  }

  private async loadEarlier(): Promise<void> {
    const before = this.transcript.firstOffset;
    const button = byId("earlier", HTMLButtonElement);
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      const range = { limit: HISTORY_PAGE, types: [CHAT_TYPE] };
      const page = await this.agent.receive(before === undefined ? range : { ...range, before });
      this.addHistory(page);
    } catch (error) {
      this.tellTrouble(error as ProtocolError);
    }
    button.disabled = false;
    button.textContent = "Load earlier messages";
  }

  private addHistory({ messages, refused, isComplete }: History): void {
    this.transcript.older(messages, (message) => this.isOwn(message));
    for (const error of refused) this.refused(error);
    this.showHistory(isComplete);
  }

  private showHistory(isComplete: boolean): void {
    this.hasHistory = true;
    byId("earlier", HTMLElement).hidden = isComplete;
    byId("beginning", HTMLElement).hidden = !isComplete || !this.transcript.hasMessages;
    this.draw();
  }

  private tellGap(isDurable: boolean): void {
    if (!isDurable) return;
    // The log is another one, or what was missed is more than the server replays: read anew what there is.
    this.transcript.forgetStored();
    this.happened("The server could not say what was missed; this is what it has now");
    void this.loadHistory();
  }

  // --- people --------------------------------------------------------------------------------------------

  private showPeople(): void {
    const { members, operations, sessionId } = this.agent;
    const direct = (member: Member): void => {
      closeDialogs();
      this.composer.writeTo(member.name);
    };
    const remove = (member: Member): void => {
      closeDialogs();
      askToRemove(member, (reason) => {
        this.agent
          .kick({ sessionId: member.sessionId }, reason)
          .catch((error: ProtocolError) => this.tellTrouble(error));
      });
    };
    const callbacks = operations.includes("kick") ? { direct, remove } : { direct };
    showPeople(byId("people-list", HTMLElement), members, sessionId, callbacks);
    for (const id of ["people-count", "people-open-count", "people-dialog-count"]) {
      byId(id, HTMLElement).textContent = String(members.length);
    }
  }

  // --- typing --------------------------------------------------------------------------------------------

  private sayTyping(to: string | undefined): void {
    if (!this.agent.isConnected || !this.ownTyping.pressed(performance.now())) return;
    const audience = to === undefined ? {} : { to };
    // Nobody misses it if it doesn't get through.
    this.agent
      .sendMessage({ content: true, type: TYPING_TYPE, ephemeral: true, ...audience })
      .catch(() => undefined);
  }

  private showTyping(): void {
    const now = performance.now();
    const names = this.othersTyping.names(now);
    byId("typing", HTMLElement).textContent = typingWords(names);
    clearTimeout(this.typingTimer);
    const next = this.othersTyping.nextChangeMs;
    if (next !== undefined)
      this.typingTimer = setTimeout(() => this.showTyping(), Math.max(0, next - now) + 1);
  }

  // --- head, state, notices ------------------------------------------------------------------------------

  private wireButtons(): void {
    const onClick = (id: string, act: () => void): void => {
      byId(id, HTMLButtonElement).onclick = act;
    };
    const share = (): void => {
      const link = this.callbacks.link();
      showShare(link, this.agent.channel?.hasPassword ?? false, `peerbus chat '${link}'`);
    };
    onClick("share-open", share);
    onClick("empty-share", share);
    onClick("leave", this.callbacks.leave);
    onClick("people-open", showPeopleSheet);
    onClick("earlier", () => void this.loadEarlier());
    onClick("newer", () => {
      this.list.toEnd();
      this.noteRead();
    });
    onClick("openness", () => {
      if (this.agent.channel) showOpenness(this.agent.channel, [], this.agent.safetyNumber);
    });
    onClick("lock", () => {
      const change = this.agent.channel?.isLocked ? this.agent.unlock() : this.agent.lock();
      change.catch((error: ProtocolError) => this.tellTrouble(error));
    });
    byId("scroller", HTMLElement).onscroll = () => {
      if (this.list.isNearEnd) this.noteRead();
    };
    document.onvisibilitychange = () => {
      if (!document.hidden && this.list.isNearEnd) this.noteRead();
    };
  }

  private showHead(): void {
    const { channel, operations } = this.agent;
    if (!channel) return;
    byId("channel-name", HTMLElement).textContent = channel.name;
    const { badge, sign } = openness(channel);
    const words = channel.isLocked ? `${badge} · closed to newcomers` : badge;
    const head = byId("openness", HTMLElement);
    head.classList.toggle("tone-good", channel.mode === "sealed");
    head.replaceChildren(icon(sign), words);
    byId("channel-lock", HTMLElement).hidden = !operations.includes("lock");
    const lock = byId("lock", HTMLButtonElement);
    lock.replaceChildren(
      icon(channel.isLocked ? "lock-open" : "lock"),
      channel.isLocked ? "Let newcomers in" : "Keep newcomers out",
    );
  }

  private tellTrouble(error: ProtocolError): void {
    const wording = failureWording(error.code, error.message, error.correlationId);
    const shown = notice(wording, [{ label: "Dismiss", act: () => shown.remove() }]);
    // One of a kind is enough.
    for (const other of this.notices.querySelectorAll(`[data-code="${CSS.escape(error.code)}"]`))
      other.remove();
    this.notices.append(shown);
  }

  private happened(text: string): void {
    this.transcript.happened(text, Date.now());
    this.draw();
  }

  // --- drawing -------------------------------------------------------------------------------------------

  /** Brings the page up to date, once for all that happens in one turn. */
  private draw(): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    queueMicrotask(() => {
      this.isDrawing = false;
      this.list.show(this.transcript.rows());
      byId("skeleton", HTMLElement).hidden = this.hasHistory;
      byId("empty", HTMLElement).hidden = !this.hasHistory || this.transcript.hasMessages;
      const isAloneBehindPassword = this.agent.channel?.hasPassword && this.agent.members.length === 1;
      byId("empty-password", HTMLElement).hidden = !isAloneBehindPassword;
      const waiting = this.agent.isConnected ? 0 : this.transcript.waiting;
      byId("queued", HTMLElement).textContent = queuedWords(waiting);
      if (this.list.isNearEnd && !document.hidden) this.noteRead();
      else this.showUnread();
    });
  }

  private noteRead(): void {
    this.unread = 0;
    this.showUnread();
  }

  private showUnread(): void {
    const name = this.agent.channel?.name ?? "Chat";
    document.title = `${this.unread > 0 && document.hidden ? `(${this.unread}) ` : ""}${name} · peerbus`;
    byId("newer", HTMLElement).hidden = this.list.isNearEnd || this.unread === 0;
    byId("newer-text", HTMLElement).textContent =
      this.unread === 1 ? "1 new message" : `${this.unread} new messages`;
  }
}
