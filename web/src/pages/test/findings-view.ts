/**
 * The verdict and the lines of the checks, as elements.
 *
 * Owns how they look. Never finds the words (`judgement`).
 */

import { make } from "../elements/element";
import { type IconName, icon } from "../elements/icon";
import type { Finding, Status } from "./finding";
import type { Verdict } from "./judgement";

const ICONS: Readonly<Record<Status, IconName>> = {
  ok: "check",
  warn: "triangle-alert",
  fail: "x",
  skipped: "info",
};
const WORDS: Readonly<Record<Status, string>> = {
  ok: "fine",
  warn: "needs attention",
  fail: "fails",
  skipped: "not tested",
};

/** The line on top, and what to do. */
export function showVerdict(place: HTMLElement, { status, headline, remedies = [] }: Verdict): void {
  place.className = `verdict card is-${status}`;
  place.replaceChildren(
    icon(ICONS[status]),
    make("h2", {}, headline),
    ...(remedies.length > 0
      ? [make("ul", {}, ...remedies.map((remedy) => make("li", {}, ...withCode(remedy))))]
      : []),
  );
}

/** That a test runs, in the same place. */
export function showRunning(place: HTMLElement, now: string): void {
  place.className = "verdict card";
  place.replaceChildren(icon("clock"), make("h2", {}, `Testing: ${now}…`));
}

/** One line for each check. */
export function showFindings(place: HTMLElement, findings: readonly Finding[]): void {
  place.replaceChildren(...findings.map(line));
}

/** Text in which what stands between backticks is code. */
function withCode(text: string): (Node | string)[] {
  return text.split("`").map((part, at) => (at % 2 === 0 ? part : make("code", {}, part)));
}

function line({ check, label, status, summary, remedy, detail, ms }: Finding): HTMLElement {
  return make(
    "li",
    { class: `finding is-${status}`, "data-check": check, "data-status": status },
    icon(ICONS[status]),
    make("h3", {}, label),
    make("span", { class: "state" }, ms === undefined ? WORDS[status] : `${WORDS[status]} · ${ms} ms`),
    make("p", { class: "words" }, summary),
    ...(remedy || detail
      ? [
          make(
            "details",
            {},
            make("summary", {}, "Details"),
            ...(remedy ? [make("p", {}, ...withCode(remedy))] : []),
            ...(detail ? [make("code", {}, detail)] : []),
          ),
        ]
      : []),
  );
}
