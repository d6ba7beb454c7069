/**
 * The dialogs of the room: sharing, openness, people on a phone, removing somebody.
 *
 * Owns opening, closing and what they show. Never talks to the server.
 */

import type { Channel, Member } from "../../sdk/agent/records";
import { byId, make } from "../elements/element";
import { qrCode } from "./qr-code";
import { openness } from "./wording";

const LOOPBACK = /^(localhost|127\.|\[::1\])/;

function dialog(id: string): HTMLDialogElement {
  return byId(id, HTMLDialogElement);
}

/** Makes every dialog of the page close by its buttons and by a click beside it; Esc does so by itself. */
export function wireDialogs(): void {
  for (const element of document.querySelectorAll("dialog")) {
    for (const button of element.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => element.close());
    }
    element.addEventListener("click", (event) => {
      if (event.target === element) element.close();
    });
  }
}

export function closeDialogs(): void {
  for (const element of document.querySelectorAll("dialog")) element.close();
}

/** Shows the link in every form; `command` is what a terminal is to be given. */
export function showShare(link: string, hasPassword: boolean, command: string): void {
  byId("share-code", HTMLElement).replaceChildren(qrCode(link));
  byId("share-link", HTMLInputElement).value = link;
  byId("share-command", HTMLInputElement).value = command;
  byId("share-hint", HTMLElement).textContent = hasPassword
    ? "The link contains the password: whoever has it can join. What stands behind # is never sent to a server."
    : "Whoever has the link can join.";
  const local = byId("share-local", HTMLElement);
  local.hidden = !LOOPBACK.test(location.host);
  local.textContent =
    `“${location.hostname}” means this machine, on any other device too. For other devices start the server with ` +
    "--host 0.0.0.0, and open this page by the machine’s own address.";
  const send = byId("share-send", HTMLButtonElement);
  send.hidden = typeof navigator.share !== "function";
  send.onclick = () => {
    // Whoever closes the system's own dialog has changed their mind, and needs no message about it.
    navigator.share({ url: link }).catch(() => undefined);
  };
  dialog("share-dialog").showModal();
  byId("share-link", HTMLInputElement).select();
}

/** Says who can come in and who can read; `more` is what holds for this page alone. */
export function showOpenness(channel: Channel, more: readonly string[] = [], safetyNumber = ""): void {
  const { title, text } = openness(channel);
  byId("openness-title", HTMLElement).textContent = title;
  const lines: HTMLElement[] = [...text, ...more].map((line) => make("p", {}, line));
  if (safetyNumber) lines.push(safety(safetyNumber));
  byId("openness-text", HTMLElement).replaceChildren(...lines);
  dialog("openness-dialog").showModal();
}

/** The number that two people read to each other. */
function safety(number: string): HTMLElement {
  const groups = number.split(" ").map((group) => make("span", {}, group));
  return make(
    "section",
    { class: "safety", "aria-labelledby": "safety-title" },
    make("h3", { id: "safety-title" }, "Safety number"),
    make("p", { class: "safety-number numbers", "data-testid": "safety-number" }, ...groups),
    make(
      "p",
      { class: "hint" },
      "Read it to each other, on the phone or face to face. If it is the same, you have the same channel and the same password, and nobody without it reads along.",
    ),
  );
}

/** On a phone the people stand in a dialog: the list moves there, and back when it is closed. */
export function showPeopleSheet(): void {
  const sheet = dialog("people-dialog");
  const aside = byId("people", HTMLElement);
  const parts = [byId("people-list", HTMLElement), byId("channel-lock", HTMLElement)];
  byId("people-dialog-body", HTMLElement).append(...parts);
  sheet.addEventListener("close", () => aside.append(...parts), { once: true });
  sheet.showModal();
}

/** Asks whether to remove somebody, and why. */
export function askToRemove(member: Member, remove: (reason: string) => void): void {
  const reason = byId("remove-reason", HTMLInputElement);
  reason.value = "";
  byId("remove-title", HTMLElement).textContent = `Remove ${member.name}?`;
  const box = dialog("remove-dialog");
  byId("remove-form", HTMLFormElement).onsubmit = (event) => {
    event.preventDefault();
    box.close();
    remove(reason.value.trim());
  };
  box.showModal();
  reason.focus();
}
