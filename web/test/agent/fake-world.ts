/** An emulated platform for the agent: a clock that the test moves, and transports whose other end is the test. */
import type { Environment } from "../../src/sdk/agent/environment";
import type { OpenTransport, Transport, TransportListener } from "../../src/sdk/agent/transport/transport";
import { Codec, Rejected } from "../../src/sdk/protocol/codec";
import type { ClientFrame, ServerFrame } from "../../src/sdk/protocol/frames.gen";
import type { TransportName } from "../../src/sdk/protocol/session/paths";
import { SERVER_FRAMES } from "../../src/sdk/protocol/shapes.gen";

const codec = new Codec<ServerFrame>("json", SERVER_FRAMES, 1_048_576);

/** One transport as the server sees it. */
export class FakeConnection implements Transport {
  readonly name: TransportName;
  readonly received: ClientFrame[] = [];
  readonly batches: ClientFrame[][] = [];
  closedWith: number | undefined;
  private readonly listener: TransportListener;

  constructor(name: TransportName, listener: TransportListener) {
    this.name = name;
    this.listener = listener;
  }

  send(frames: readonly ClientFrame[]): void {
    this.batches.push([...frames]);
    this.received.push(...frames);
  }

  close(closeCode: number): void {
    this.closedWith = closeCode;
  }

  open(): void {
    this.listener.opened();
  }

  /** Lets the client have a frame, given in its JSON form. */
  say(json: Record<string, unknown>): void {
    const frame = codec.readFrame(json);
    if (frame instanceof Rejected) throw frame.error;
    this.listener.received([frame]);
  }

  lose(closeCode?: number, reason = ""): void {
    this.listener.lost(closeCode, reason);
  }

  /** The last frame of a kind that came. */
  last<Op extends ClientFrame["op"]>(op: Op): Extract<ClientFrame, { op: Op }> {
    const frame = this.received.filter((candidate) => candidate.op === op).at(-1);
    if (!frame)
      throw new Error(`No ${op} came; there were: ${this.received.map((one) => one.op).join(", ")}`);
    return frame as Extract<ClientFrame, { op: Op }>;
  }

  /** Takes the client in. */
  welcome(changes: Record<string, unknown> = {}): void {
    const { id, agent, channel } = this.last("connect");
    this.say({
      op: "connected",
      id,
      version: 1,
      session_id: "s1",
      resume_token: "t1",
      agent: agent || "guest-1",
      identity: "lineage:alice",
      order: 1,
      channel: { id: `${"A".repeat(43)}=`, name: channel, mode: "open", scope: "private:demo" },
      epoch: "e1",
      head: 41,
      live_epoch: "L1",
      live_seq: 0,
      members: [{ session_id: "s1", name: agent || "guest-1", order: 1, identity: "lineage:alice" }],
      operations: ["read", "history", "send_durable", "send_live"],
      limits: {
        frame_bytes: 1_048_576,
        message_bytes: 262_144,
        batch_frames: 256,
        send_rate_per_s: 50,
        lossy_rate_per_s: 200,
        recipients: 200,
        history_page: 500,
      },
      ack_promise: "local-fsync",
      ping_interval_ms: 10_000,
      silence_timeout_ms: 25_000,
      resume_window_ms: 30_000,
      server: "peerbus/test",
      correlation_id: "c1",
      ...changes,
    });
  }
}

export class FakeWorld implements Environment {
  readonly connections: FakeConnection[] = [];
  readonly openTransport: Readonly<Record<TransportName, OpenTransport>>;
  private time = 1_000;
  private readonly timers = new Map<number, { readonly at: number; readonly callback: () => void }>();
  private lastTimer = 0;
  private readonly wakers = new Set<() => void>();

  constructor() {
    const opener =
      (name: TransportName): OpenTransport =>
      (_, listener) => {
        const connection = new FakeConnection(name, listener);
        this.connections.push(connection);
        return connection;
      };
    this.openTransport = { websocket: opener("websocket"), longpoll: opener("longpoll") };
  }

  nowMs(): number {
    return this.time;
  }

  random(): number {
    return 0.5;
  }

  startTimer(delayMs: number, callback: () => void): () => void {
    const timer = ++this.lastTimer;
    this.timers.set(timer, { at: this.time + delayMs, callback });
    return () => this.timers.delete(timer);
  }

  onWake(callback: () => void): () => void {
    this.wakers.add(callback);
    return () => this.wakers.delete(callback);
  }

  wake(): void {
    for (const waker of this.wakers) waker();
  }

  get isWatched(): boolean {
    return this.wakers.size > 0;
  }

  /** The newest transport. */
  get connection(): FakeConnection {
    const connection = this.connections.at(-1);
    if (!connection) throw new Error("No transport was opened.");
    return connection;
  }

  /** Lets time pass, and all timers run that fall into it. */
  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [timer, { at, callback }] = due;
      this.timers.delete(timer);
      this.time = Math.max(this.time, at);
      callback();
    }
    this.time = end;
  }
}

/** Lets everything run that waits for promises only, and the failures that nobody looked at come up. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0)).then(
    () => new Promise((resolve) => setTimeout(resolve, 0)),
  );
}
