/**
 * Who is typing, and when to say that one is oneself.
 *
 * Owns the times. Never reads a clock. What it is about travels as lossy messages: one that gets lost is no loss.
 */

/** The type of the messages that say so. */
export const TYPING_TYPE = "typing-indicator";

const SAY_EVERY_MS = 2_500;
const BELIEVED_MS = 5_000;

/** When to say that one is typing. */
export class OwnTyping {
  private saidAt = Number.NEGATIVE_INFINITY;

  /** A key was pressed: whether to say so now. */
  pressed(nowMs: number): boolean {
    if (nowMs - this.saidAt < SAY_EVERY_MS) return false;
    this.saidAt = nowMs;
    return true;
  }

  /** The message was sent, or taken back: the next key press is news again. */
  ended(): void {
    this.saidAt = Number.NEGATIVE_INFINITY;
  }
}

/** The others who type, as far as one knows. */
export class OthersTyping {
  private readonly people = new Map<string, { readonly name: string; readonly untilMs: number }>();

  typing(identity: string, name: string, nowMs: number): void {
    this.people.set(identity, { name, untilMs: nowMs + BELIEVED_MS });
  }

  /** The message came, or they went. */
  ended(identity: string): void {
    this.people.delete(identity);
  }

  names(nowMs: number): string[] {
    for (const [identity, { untilMs }] of this.people) if (untilMs <= nowMs) this.people.delete(identity);
    return [...this.people.values()].map(({ name }) => name);
  }

  /** When the names change next by themselves. */
  get nextChangeMs(): number | undefined {
    const times = [...this.people.values()].map(({ untilMs }) => untilMs);
    return times.length > 0 ? Math.min(...times) : undefined;
  }
}
