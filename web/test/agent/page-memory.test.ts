/** What a page remembers over a reload, and that a duplicated tab does not share it. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openMemory, type PageMemory } from "../../src/sdk/agent/page-memory";

const RESUME = { token: "t1", epoch: "e1", offset: 7, live_epoch: "L1", live_seq: 9, order: 3 };

/** One tab's storage; a duplicated tab begins with a copy. */
class FakeStorage {
  readonly items: Map<string, string>;

  constructor(items = new Map<string, string>()) {
    this.items = items;
  }

  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.items.set(key, value);
  }
}

/** Locks as a browser has them: shared by all tabs, given in the order of the requests. */
class FakeLocks {
  private readonly held = new Map<string, Promise<void>>();

  async request(name: string, { signal }: { signal: AbortSignal }, hold: () => Promise<void>): Promise<void> {
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    });
    await Promise.race([this.held.get(name), aborted]);
    const holding = hold();
    this.held.set(name, holding);
    aborted.catch(() => undefined);
    await holding;
  }
}

const open: PageMemory[] = [];

async function remember(name = "lobby"): Promise<PageMemory> {
  const memory = await openMemory(name);
  open.push(memory);
  return memory;
}

function inTab(storage: FakeStorage): void {
  vi.stubGlobal("sessionStorage", storage);
}

function duplicate(storage: FakeStorage): FakeStorage {
  return new FakeStorage(new Map(storage.items));
}

afterEach(() => {
  for (const memory of open.splice(0)) memory.close();
  vi.unstubAllGlobals();
});

describe.each([
  ["with Web Locks", (): object => ({ locks: new FakeLocks() })],
  ["on plain http, without them", (): object => ({})],
])("%s", (_, navigator) => {
  let storage: FakeStorage;

  beforeEach(() => {
    vi.stubGlobal("navigator", navigator());
    storage = new FakeStorage();
    inTab(storage);
  });

  test("a first page starts anew", async () => {
    const { remembered } = await remember();
    expect(remembered.resume).toBeNull();
    expect(remembered.lineageSecret).toHaveLength(16);
  });

  test("after a reload token, lineage and the durable cursor are there, and no live one", async () => {
    const before = await remember();
    before.store(RESUME);
    before.close();
    const { remembered } = await remember();
    expect(remembered.lineageSecret).toEqual(before.remembered.lineageSecret);
    expect(remembered.resume).toEqual({ ...RESUME, live_epoch: "", live_seq: 0 });
  });

  test("a duplicated tab starts anew, and the first keeps what it has", async () => {
    const first = await remember();
    first.store(RESUME);
    inTab(duplicate(storage));
    const second = await remember();
    expect(second.remembered.resume).toBeNull();
    expect(second.remembered.lineageSecret).not.toEqual(first.remembered.lineageSecret);
    second.store({ ...RESUME, token: "t2" });
    first.close();
    inTab(storage);
    expect((await remember()).remembered.resume?.token).toBe("t1");
  });

  test("a session that has ended is forgotten, its lineage not", async () => {
    const before = await remember();
    before.store(RESUME);
    before.forget();
    const { remembered } = await remember();
    expect(remembered.resume).toBeNull();
    expect(remembered.lineageSecret).toEqual(before.remembered.lineageSecret);
  });

  test("each name has its own memory", async () => {
    (await remember("lobby")).store(RESUME);
    expect((await remember("kitchen")).remembered.resume).toBeNull();
  });

  test.each(["", "null", "7", "{", '{"claim":1}', '{"claim":"c","lineage":"AAAA","resume":{}}'])(
    "what is no memory is none: %s",
    async (text) => {
      storage.setItem("peerbus/session/lobby", text);
      expect((await remember()).remembered.resume).toBeNull();
    },
  );
});

test("a page whose storage is refused works without", async () => {
  vi.stubGlobal("navigator", { locks: new FakeLocks() });
  const refuse = (): never => {
    throw new DOMException("denied", "SecurityError");
  };
  vi.stubGlobal("sessionStorage", { getItem: refuse, setItem: refuse });
  const memory = await remember();
  memory.store(RESUME);
  expect(memory.remembered.resume).toBeNull();
});
