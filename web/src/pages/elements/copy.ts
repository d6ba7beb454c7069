/**
 * `<pb-copy from="id">` or `<pb-copy value="text">`: a button that copies, and says so.
 *
 * Owns the button and what it says. `from` names the element whose text, or value, is copied; `label` is what the button
 * says (by default "Copy"), `what` completes it for screen readers ("Copy the link").
 */

import { make } from "./element";
import { icon } from "./icon";

const SAID_MS = 2_000;

class CopyElement extends HTMLElement {
  private timer: ReturnType<typeof setTimeout> | undefined;

  connectedCallback(): void {
    if (this.firstElementChild) return;
    const label = this.getAttribute("label") ?? "Copy";
    const what = this.getAttribute("what");
    const words = make("span", {}, label);
    const button = make(
      "button",
      {
        type: "button",
        class: `button compact ${this.getAttribute("look") ?? ""}`,
        "aria-label": what ? `${label} ${what}` : undefined,
      },
      icon("copy"),
      words,
    );
    const said = make("span", { class: "unseen", role: "status" });
    button.addEventListener("click", () => {
      void this.copy(words, said, label);
    });
    this.append(button, said);
  }

  private get text(): string {
    const source = document.getElementById(this.getAttribute("from") ?? "");
    if (source instanceof HTMLInputElement || source instanceof HTMLTextAreaElement) return source.value;
    return this.getAttribute("value") ?? source?.textContent ?? "";
  }

  private async copy(words: HTMLElement, said: HTMLElement, label: string): Promise<void> {
    const isCopied = await copyText(this.text);
    words.textContent = isCopied ? "Copied" : "Select and copy it";
    said.textContent = words.textContent;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      words.textContent = label;
      said.textContent = "";
    }, SAID_MS);
  }
}

customElements.define("pb-copy", CopyElement);

/** Puts a text into the clipboard; false where the browser does not let us. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http has no clipboard of the modern kind.
    return copyBySelection(text);
  }
}

function copyBySelection(text: string): boolean {
  const area = make("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  // Inside an open dialog everything else is inert, and what is inert can't be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  const { activeElement } = document;
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (activeElement instanceof HTMLElement) activeElement.focus();
  return isCopied;
}
