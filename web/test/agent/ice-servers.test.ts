/** STUN and TURN servers of the agent: from the handshake, and renewed before their credentials end. */
import { beforeEach, expect, test } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import { IceServers } from "../../src/sdk/agent/ice-servers";
import { FakeWorld, settle } from "./fake-world";

const HOUR_MS = 3_600_000;

const turn = (number: number) => [{ urls: ["turn:t"], username: `${number}:x`, credential: "p" }];

let world: FakeWorld;
let agent: AgentConnection;

beforeEach(() => {
  world = new FakeWorld();
  agent = new AgentConnection(world);
});

async function connect(): Promise<void> {
  const connecting = agent.connect({ channelName: "lobby", api: "http://localhost:8080", apiKey: "pb_k_s" });
  await settle();
  world.connection.open();
  world.connection.welcome({ ice_servers: turn(1), ice_expires_in_ms: HOUR_MS });
  await connecting;
}

test("new ones are wanted at half time, and after a failure at half of the rest", () => {
  const ice = new IceServers();
  expect(ice.areFresh(0)).toBe(true);
  ice.told(turn(1), HOUR_MS, 1_000);
  expect(ice.renewAtMs).toBe(1_000 + HOUR_MS / 2);
  expect(ice.areFresh(1_000 + HOUR_MS / 2)).toBe(false);
  ice.failed(1_000 + HOUR_MS / 2);
  expect(ice.renewAtMs).toBe(1_000 + (HOUR_MS * 3) / 4);
  expect([ice.areGood(HOUR_MS + 999), ice.areGood(HOUR_MS + 1_000)]).toEqual([true, false]);
  ice.failed(1_000 + 2 * HOUR_MS);
  expect(ice.renewAtMs).toBe(1_000 + 2 * HOUR_MS + 5_000);
  ice.told([{ urls: ["stun:s"], username: "", credential: null }], undefined, 0);
  expect(ice.servers).toEqual([{ urls: ["stun:s"] }]);
  expect(ice.renewAtMs).toBeUndefined();
});

test("they come with the handshake, and are renewed when half of their time is over", async () => {
  const told: unknown[] = [];
  agent.on("iceServers", (servers) => told.push(servers));
  await connect();
  expect(agent.iceServers).toEqual(turn(1));
  expect(await agent.getIceServers()).toEqual(turn(1));
  // A sign of life now and then, or the connection would be given up.
  for (let passed = 0; passed < HOUR_MS / 2; passed += 20_000) {
    world.pass(20_000);
    world.connection.say({ op: "pong" });
  }
  const asked = world.connection.last("ice_servers");
  // Whoever asks meanwhile shares the question.
  const asking = agent.getIceServers();
  world.connection.say({
    op: "ice_servers_reply",
    id: asked.id,
    ice_servers: turn(2),
    ice_expires_in_ms: HOUR_MS,
  });
  expect(await asking).toEqual(turn(2));
  expect(told).toEqual([turn(1), turn(2)]);
  expect(world.connection.received.filter(({ op }) => op === "ice_servers")).toHaveLength(1);
});

test("a refusal leaves what is there, and is tried again later", async () => {
  await connect();
  for (let passed = 0; passed < HOUR_MS / 2; passed += 20_000) {
    world.pass(20_000);
    world.connection.say({ op: "pong" });
  }
  const { id } = world.connection.last("ice_servers");
  world.connection.say({ op: "error", id, code: "internal", message: "no" });
  await settle();
  expect(agent.iceServers).toEqual(turn(1));
  for (let passed = 0; passed < HOUR_MS / 4; passed += 20_000) {
    world.pass(20_000);
    world.connection.say({ op: "pong" });
  }
  expect(world.connection.last("ice_servers").id).toBeGreaterThan(id);
  await agent.disconnect();
});
