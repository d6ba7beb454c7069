/** Runs `tests/vectors/links/links.json`, as the Python client does. */
import { describe, expect, test } from "vitest";
import { formatLink, type Link, LinkError, parseLink } from "../../src/pages/link";
import { vector } from "../vectors";

type Given = Partial<Omit<Link, "isSealed">> &
  Pick<Link, "origin" | "channel"> & { readonly is_sealed?: boolean };

interface Links {
  readonly format: readonly { readonly link: Given; readonly text: string }[];
  readonly parse: readonly { readonly text: string; readonly link: Given; readonly canonical?: string }[];
  readonly reject: readonly { readonly text: string; readonly fault: string }[];
}

const links = vector<Links>("links/links.json");

function whole({ is_sealed: isSealed = true, ...link }: Given): Link {
  return { password: "", project: "", scope: "private", page: "chat", isSealed, ...link };
}

function faultOf(text: string): string | undefined {
  try {
    parseLink(text);
  } catch (error) {
    if (error instanceof LinkError) return error.fault;
    throw error;
  }
  return undefined;
}

describe("channel links", () => {
  test.each(links.format)("$text is written and read", ({ link, text }) => {
    expect(formatLink(whole(link))).toBe(text);
    expect(parseLink(text)).toEqual(whole(link));
  });

  test.each(links.parse)("$text is read", ({ text, link, canonical }) => {
    expect(parseLink(text)).toEqual(whole(link));
    if (canonical) expect(formatLink(parseLink(text))).toBe(canonical);
  });

  test.each(links.reject)("$text is refused: $fault", ({ text, fault }) => {
    expect(faultOf(text)).toBe(fault);
  });

  test("a text that is far too long is refused", () => {
    expect(faultOf(`http://localhost/chat#channel=${"x".repeat(5000)}`)).toBe("not_a_link");
  });

  test("half a surrogate pair cannot be written", () => {
    expect(() => formatLink({ origin: "http://localhost", channel: "\ud800" })).toThrow(LinkError);
  });
});
