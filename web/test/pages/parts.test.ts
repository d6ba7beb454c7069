/** The small parts of the chat page that need no page: typing, passwords, addresses in texts, initials. */
import { describe, expect, test } from "vitest";
import { hueOf, initialOf } from "../../src/pages/channel/avatar";
import { makePassword, PASSWORD_BITS } from "../../src/pages/channel/password";
import { pieces } from "../../src/pages/chat/text";
import { OthersTyping, OwnTyping } from "../../src/pages/chat/typing";

describe("typing", () => {
  test("is told at once, then not too often, and at once again after a message", () => {
    const own = new OwnTyping();
    expect([own.pressed(0), own.pressed(100), own.pressed(2_400), own.pressed(2_500)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
    own.ended();
    expect(own.pressed(2_600)).toBe(true);
  });

  test("of others is believed for a while, or until their message comes", () => {
    const others = new OthersTyping();
    others.typing("i1", "ann", 0);
    others.typing("i2", "bob", 1_000);
    expect(others.names(1_000)).toEqual(["ann", "bob"]);
    expect(others.nextChangeMs).toBe(5_000);
    expect(others.names(5_000)).toEqual(["bob"]);
    others.ended("i2");
    expect(others.names(5_000)).toEqual([]);
    expect(others.nextChangeMs).toBeUndefined();
  });
});

describe("a generated password", () => {
  test("has at least 80 bits, all of them from the random source", () => {
    expect(PASSWORD_BITS).toBeGreaterThanOrEqual(80);
    const distinct = new Set(Array.from({ length: 200 }, () => makePassword()));
    expect(distinct.size).toBe(200);
    expect(makePassword((length) => new Uint8Array(length))).toBe("00000-00000-00000-00000");
    expect(makePassword((length) => new Uint8Array(length).fill(255))).toBe("zzzzz-zzzzz-zzzzz-zzzzz");
  });
});

describe("addresses in a text", () => {
  test.each([
    ["nothing here", ["nothing here"]],
    ["see https://a.example/x?y=1#z.", ["see ", { address: "https://a.example/x?y=1#z" }, "."]],
    ["(http://a.example)", ["(", { address: "http://a.example" }, ")"]],
    ["javascript:alert(1) data:x ftp://a", ["javascript:alert(1) data:x ftp://a"]],
    ["http://", ["http://"]],
    ["https://a.example,https://b.example", [{ address: "https://a.example,https://b.example" }]],
    ["", []],
  ])("%s", (text, found) => {
    expect(pieces(text)).toEqual(found);
  });

  test("nothing of the text gets lost", () => {
    const text = "a http://x.example/<b> https://y.example. http://[ b";
    const back = pieces(text).map((piece) => (typeof piece === "string" ? piece : piece.address));
    expect(back.join("")).toBe(text);
  });
});

describe("the sign of a person", () => {
  test.each([
    ["ada", "a"],
    ["👩‍💻 dev", "👩‍💻"],
    ["é", "é"],
    ["", ""],
  ])("%s", (name, initial) => {
    expect(initialOf(name)).toBe(initial);
  });

  test("has a colour that stays", () => {
    expect(hueOf("lineage:abc")).toBe(hueOf("lineage:abc"));
    const hues = new Set(Array.from({ length: 100 }, (_, index) => hueOf(`lineage:${index}`)));
    expect([...hues].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});
