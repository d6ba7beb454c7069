/**
 * Events under names, with any number of listeners and one assignable callback each.
 *
 * Owns who listens. Never lets the failure of one listener reach another, or whoever emits: it is reported as any
 * uncaught error of the page.
 */

type Listener<T> = (value: T) => unknown;

export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Adds a listener; gives a function that takes it away again. */
  on<K extends keyof Events>(event: K, listener: Listener<Events[K]>): () => void {
    const known = this.listeners.get(event) ?? new Set();
    known.add(listener);
    this.listeners.set(event, known);
    return () => this.off(event, listener);
  }

  /** Takes a listener away; without one, all of this event. */
  off<K extends keyof Events>(event: K, listener?: Listener<Events[K]>): void {
    if (listener) this.listeners.get(event)?.delete(listener);
    else this.listeners.delete(event);
  }

  /** Calls the assigned callback first, then the listeners in their order; whether there was any. */
  emit<K extends keyof Events>(event: K, value: Events[K], assigned?: Listener<Events[K]> | null): boolean {
    const added = [...(this.listeners.get(event) ?? [])] as Listener<Events[K]>[];
    const all = assigned ? [assigned, ...added] : added;
    for (const listener of all) call(listener, value);
    return all.length > 0;
  }
}

function call<T>(listener: Listener<T>, value: T): void {
  try {
    const result = listener(value);
    if (result instanceof Promise) result.catch(report);
  } catch (error) {
    report(error);
  }
}

function report(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
