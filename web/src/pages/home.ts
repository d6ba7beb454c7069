/**
 * The page /: what this server is, and how it is.
 *
 * Owns the figures and the addresses in the snippets.
 */

import "./elements/copy";
import "./elements/icon";
import { duration } from "./duration";
import { byId } from "./elements/element";
import { type ServerStatus, serverStatus } from "./status";

const ASK_EVERY_MS = 5_000;
/** The address that the snippets have as long as they are only text. */
const EXAMPLE = "http://localhost:8080";

function showOrigin(): void {
  for (const id of ["snippet-js", "snippet-py"]) {
    const code = byId(id, HTMLElement);
    code.textContent = code.textContent.replaceAll(EXAMPLE, location.origin);
  }
  for (const span of document.querySelectorAll("[data-origin]")) span.textContent = location.origin;
}

function show(status: ServerStatus | undefined): void {
  const pill = byId("server-pill", HTMLElement);
  const dot = document.createElement("span");
  dot.className = "dot";
  const words = status ? "This server is up" : "This server does not answer";
  if (pill.textContent !== words) pill.replaceChildren(dot, words);
  pill.className = `pill ${status ? "tone-good" : "tone-bad"}`;
  if (!status) return;
  byId("version", HTMLElement).textContent = status.version;
  byId("uptime", HTMLElement).textContent = duration(status.uptimeMs);
  byId("channels", HTMLElement).textContent = status.channels.toLocaleString();
  byId("members", HTMLElement).textContent = status.members.toLocaleString();
}

async function ask(): Promise<void> {
  if (!document.hidden) show(await serverStatus());
  setTimeout(() => void ask(), ASK_EVERY_MS);
}

showOrigin();
void ask();
