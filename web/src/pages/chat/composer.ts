/**
 * Where one writes: grows with the text, Enter sends, Shift+Enter begins a line; to everyone or to one person.
 *
 * Owns the text and the recipient. Never sends anything itself.
 */

import { byId } from "../elements/element";

export interface ComposerCallbacks {
  /** Send this; true if it was taken, and the text may go. */
  readonly send: (text: string, to: string | undefined) => boolean;
  readonly typing: (to: string | undefined) => void;
}

export class Composer {
  private readonly form = byId("composer", HTMLFormElement);
  private readonly text = byId("text", HTMLTextAreaElement);
  private readonly direct = byId("direct", HTMLElement);
  private readonly directName = byId("direct-name", HTMLElement);
  private readonly callbacks: ComposerCallbacks;
  private to: string | undefined;

  constructor(callbacks: ComposerCallbacks) {
    this.callbacks = callbacks;
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.submit();
    };
    this.text.onkeydown = (event) => this.keyPressed(event);
    this.text.oninput = () => {
      this.grow();
      if (this.text.value.trim()) this.callbacks.typing(this.to);
    };
    byId("direct-end", HTMLButtonElement).onclick = () => this.writeTo(undefined);
  }

  /** Everything from here goes to this person; `undefined`: to everyone. */
  writeTo(name: string | undefined): void {
    this.address(name);
    this.focus();
  }

  private address(name: string | undefined): void {
    this.to = name;
    this.direct.hidden = name === undefined;
    this.directName.textContent = name ?? "";
    this.form.classList.toggle("is-direct", name !== undefined);
    this.text.placeholder = name === undefined ? "Message everyone" : `Message ${name} alone`;
  }

  set isEnabled(isEnabled: boolean) {
    this.text.disabled = !isEnabled;
    byId("send", HTMLButtonElement).disabled = !isEnabled;
  }

  clear(): void {
    this.text.value = "";
    this.grow();
    this.address(undefined);
    // On a phone the focus brings up the keyboard, before one has read anything.
    if (matchMedia("(hover: hover)").matches) this.focus();
  }

  focus(): void {
    this.text.focus();
  }

  private keyPressed(event: KeyboardEvent): void {
    // While an input method composes a character, Enter belongs to it.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "Escape" && this.to !== undefined) {
      event.preventDefault();
      this.writeTo(undefined);
    }
  }

  private submit(): void {
    const text = this.text.value.trim();
    if (text === "" || !this.callbacks.send(text, this.to)) return;
    this.text.value = "";
    this.grow();
    this.focus();
  }

  private grow(): void {
    this.text.style.height = "auto";
    // The borders are no part of the height of the content.
    const borders = this.text.offsetHeight - this.text.clientHeight;
    this.text.style.height = `${this.text.scrollHeight + borders}px`;
  }
}
