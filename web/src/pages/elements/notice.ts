/**
 * A notice: what happened, what it means, what to do, and what to quote when asking for help.
 *
 * Owns its form. Never finds the words; see `channel/wording.ts`.
 */

import { make } from "./element";
import { type IconName, icon } from "./icon";

export type Tone = "good" | "warn" | "bad";

/** What a notice says. */
export interface Wording {
  readonly tone: Tone;
  /** What happened. */
  readonly title: string;
  /** What it means and what to do. */
  readonly text: string;
  readonly code?: string;
  readonly correlationId?: string;
}

export interface Action {
  readonly label: string;
  readonly act: () => void;
  readonly isPrimary?: boolean;
}

const ICON: Readonly<Record<Tone, IconName>> = {
  good: "check",
  warn: "triangle-alert",
  bad: "triangle-alert",
};

/** The notice as an element. */
export function notice(wording: Wording, actions: readonly Action[] = []): HTMLElement {
  const buttons = actions.map(({ label, act, isPrimary }) => {
    const button = make(
      "button",
      { type: "button", class: `button compact${isPrimary ? " primary" : ""}` },
      label,
    );
    button.addEventListener("click", act);
    return button;
  });
  return make(
    "div",
    { class: `notice tone-${wording.tone}`, "data-testid": "notice", "data-code": wording.code },
    icon(ICON[wording.tone]),
    make(
      "div",
      { class: "text" },
      make("p", { class: "title" }, wording.title),
      ...(wording.text ? [make("p", {}, wording.text)] : []),
      ...reference(wording),
    ),
    ...(buttons.length > 0 ? [make("div", { class: "actions" }, ...buttons)] : []),
  );
}

/** The code and the correlation id, to be copied together. */
function reference({ code, correlationId }: Wording): Node[] {
  if (!code) return [];
  const quoted = [code, correlationId].filter(Boolean).join(" · ");
  const copy = document.createElement("pb-copy");
  copy.setAttribute("value", quoted);
  copy.setAttribute("what", "the error code");
  copy.setAttribute("look", "plain");
  return [
    make("p", { class: "reference" }, make("code", { "data-testid": "error-reference" }, quoted), copy),
  ];
}
