import { beforeEach, describe, expect, test } from "vitest";
import { PeerLink } from "../../src/sdk/webrtc/peer-link";
import { FakeCallWorld } from "./fake-peers";

let world: FakeCallWorld;
let told: unknown[];
let link: PeerLink;

beforeEach(() => {
  world = new FakeCallWorld();
  told = [];
  link = new PeerLink(
    "mesh/1",
    true,
    world,
    {},
    {
      pathChanged: (path) => told.push(path),
      found: () => undefined,
      received: (frame) => told.push([...frame]),
      writable: () => undefined,
    },
  );
});

function comes(label: string, ...bytes: number[]): void {
  world.peer.channel(label).onmessage?.({ data: new Uint8Array(bytes).buffer });
}

describe("frames", () => {
  test("that come before the browser says that the connection stands are told after it", () => {
    for (const channel of world.peer.channels) channel.open();
    comes("peerbus", 1);
    comes("peerbus-lossy", 2);
    expect([link.isOpen, told]).toEqual([false, []]);
    world.peer.become("connected");
    expect(told).toEqual(["up", [1], [2]]);
    comes("peerbus", 3);
    expect(told).toEqual(["up", [1], [2], [3]]);
  });

  test("that come before the second channel is open are told after it", () => {
    world.peer.become("connected");
    world.peer.channel("peerbus").open();
    comes("peerbus", 1);
    expect(told).toEqual([]);
    world.peer.channel("peerbus-lossy").open();
    expect(told).toEqual(["up", [1]]);
  });

  test("of a link that was closed are nobody's", () => {
    for (const channel of world.peer.channels) channel.open();
    comes("peerbus", 1);
    link.close();
    world.peer.become("connected");
    expect(told).toEqual([]);
  });
});
