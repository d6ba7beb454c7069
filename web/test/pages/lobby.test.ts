// @vitest-environment happy-dom
/** The lobby in an emulated page. */
import { beforeEach, describe, expect, test } from "vitest";
import "../../src/pages/elements/copy";
import { type Entrance, Lobby } from "../../src/pages/channel/lobby";
import { failureWording } from "../../src/pages/channel/wording";
import { openChatPage, part, parts } from "./chat-page";

const WORDS = { title: "Join a channel", lead: "Say something.", closed: "Only with it.", open: "Anybody." };

let entered: Entrance[];
let lobby: Lobby;

beforeEach(() => {
  openChatPage();
  localStorage.clear();
  entered = [];
  lobby = new Lobby(WORDS, (entrance) => entered.push(entrance));
});

function submit(): void {
  part<HTMLFormElement>("lobby").dispatchEvent(new Event("submit", { cancelable: true }));
}

function field(id: string): HTMLInputElement {
  return part<HTMLInputElement>(id);
}

describe("the lobby", () => {
  test("joins what the form says", () => {
    lobby.readAddress("http://localhost:8080/chat");
    field("name").value = " Ada ";
    submit();
    expect(entered).toEqual([
      { name: "Ada", channel: "lobby", password: "", isSealed: true, scope: "private", apiKey: "" },
    ]);
  });

  test("takes channel and password from a link, the secret hidden", () => {
    lobby.readAddress("http://localhost:8080/chat#channel=team%20a&password=x%26y&project=demo&scope=public");
    expect(field("channel").value).toBe("team a");
    expect(field("password").type).toBe("password");
    submit();
    expect(entered[0]).toMatchObject({ channel: "team a", password: "x&y", scope: "public" });
    expect(document.getElementById("lobby-title")?.textContent).toBe("Join “team a”");
  });

  test("says that a link is damaged", () => {
    lobby.readAddress("http://localhost:8080/chat#channel=%ff");
    expect(part("notice").textContent).toContain("The link is damaged");
    lobby.readAddress("http://localhost:8080/chat#");
    expect(parts("notice")).toEqual([]);
  });

  test("asks for a key where the link leads to another project", () => {
    lobby.readAddress("http://localhost:8080/chat#channel=a&project=acme");
    expect(document.querySelector("details")?.open).toBe(true);
    expect(document.getElementById("key-hint")?.textContent).toContain("“acme”");
  });

  test("asks for a key where the server gives none", () => {
    lobby.readAddress("http://localhost:8080/chat");
    lobby.noteDemo(true);
    expect(document.querySelector("details")?.open).toBe(false);
    lobby.noteDemo(false);
    expect(document.querySelector("details")?.open).toBe(true);
  });

  test("needs a channel", () => {
    lobby.readAddress("http://localhost:8080/chat");
    field("channel").value = "  ";
    submit();
    expect(entered).toEqual([]);
    expect(document.activeElement).toBe(field("channel"));
  });

  test("makes a password and shows it", () => {
    lobby.readAddress("http://localhost:8080/chat");
    part("generate").click();
    expect(field("password").value).toMatch(/^(?:[0-9a-z]{5}-){3}[0-9a-z]{5}$/);
    expect(field("password").type).toBe("text");
    expect(document.getElementById("password-hint")?.textContent).toBe("Only with it.");
  });

  test("follows a link to a channel that is locked and not sealed, and says so; another password seals", () => {
    lobby.readAddress("http://localhost:8080/chat#channel=c&password=p&mode=open");
    expect(lobby.entrance.isSealed).toBe(false);
    expect(document.getElementById("password-hint")?.textContent).toContain("the server can read it");
    field("password").value = "another";
    field("password").dispatchEvent(new Event("input"));
    expect(lobby.entrance.isSealed).toBe(true);
  });

  test("says of a short password that it can be guessed", () => {
    lobby.readAddress("http://localhost:8080/chat#channel=c&password=short");
    const hint = document.getElementById("password-hint");
    expect(hint?.textContent).toBe(
      "Only with it. Whoever runs the server can try guesses: a generated one is safe from that.",
    );
  });

  test("puts the cursor where a refusal can be mended", () => {
    lobby.readAddress("http://localhost:8080/chat");
    lobby.failed(failureWording("name_taken", "", "c1"));
    expect(document.activeElement).toBe(field("name"));
    expect(field("name").getAttribute("aria-invalid")).toBe("true");
    expect(part("error-reference").textContent).toBe("name_taken · c1");
    lobby.failed(failureWording("unauthorized", "Unknown key."));
    expect(document.activeElement).toBe(field("api-key"));
    expect(document.querySelector("details")?.open).toBe(true);
  });

  test("remembers the name for the next visit", () => {
    field("name").value = "Ada";
    lobby.remember();
    openChatPage();
    new Lobby(WORDS, () => undefined);
    expect(field("name").value).toBe("Ada");
  });

  test("says what an attempt does, and takes no second one meanwhile", () => {
    lobby.attempt = "Connecting…";
    expect(part<HTMLButtonElement>("join").disabled).toBe(true);
    expect(document.getElementById("joining")?.textContent).toBe("Connecting…");
    lobby.attempt = "";
    expect(part<HTMLButtonElement>("join").disabled).toBe(false);
  });
});
