/** Which server is meant. */
import { afterEach, describe, expect, test } from "vitest";
import {
  baseAddress,
  longPollAddress,
  noteScriptAddress,
  webSocketAddress,
} from "../../src/sdk/agent/address";

afterEach(() => noteScriptAddress(undefined));

describe("the server's address", () => {
  test.each([
    ["http://localhost:8080", "http://localhost:8080"],
    ["https://bus.example/", "https://bus.example"],
    ["https://bus.example/below/a/path/", "https://bus.example/below/a/path"],
    ["localhost:8080", "http://localhost:8080"],
    ["ws://[::1]:8080", "http://[::1]:8080"],
    ["wss://bus.example", "https://bus.example"],
    ["https://bus.example/messaging-platform/api/v1/messaging-service", "https://bus.example"],
    ["https://bus.example/x/messaging-platform/api/v1/messaging-service/", "https://bus.example/x"],
  ])("%s", (given, base) => {
    expect(baseAddress(given)).toBe(base);
  });

  test.each(["ftp://localhost", "http://", "http://a:b@localhost", "http://localhost/?key=pb_x", ""])(
    "%s is none",
    (given) => {
      expect(() => baseAddress(given)).toThrow(expect.objectContaining({ code: "bad_request" }));
    },
  );

  test("a key that was put into it is not repeated", () => {
    expect(() => baseAddress("http://x:pb_k_secret@localhost/?k=pb_k_secret")).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("secret") }),
    );
  });

  test("is where the script came from by default", () => {
    noteScriptAddress("https://bus.example:8443/sdk/web-agent.js?v=1");
    expect(baseAddress()).toBe("https://bus.example:8443");
  });

  test("has the WebSocket and the long-poll below it", () => {
    expect(webSocketAddress("https://bus.example")).toBe("wss://bus.example/v1/ws");
    expect(longPollAddress("http://localhost", "a/b")).toBe("http://localhost/v1/longpoll/a%2Fb");
  });
});
