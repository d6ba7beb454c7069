/**
 * The lobby: name, channel, password, and what went wrong with the last attempt.
 *
 * Owns the form. Never connects.
 */

import { byId } from "../elements/element";
import { notice, type Wording } from "../elements/notice";
import { type Link, LinkError, parseLink } from "../link";
import { makePassword } from "./password";

const NAME_KEY = "peerbus/name";
const DEMO_PROJECT = "demo";
const DEFAULT_CHANNEL = "lobby";

/** Shorter ones were made up by a person, as a rule. */
const SAFE_CHARS = 16;
const LOCKED =
  "The link leads to a channel that the password locks, but does not seal: the server can read it.";
const SHORT = "Whoever runs the server can try guesses: a generated one is safe from that.";

/** What the form says. */
export interface Entrance {
  readonly name: string;
  readonly channel: string;
  readonly password: string;
  /** False: the link says that the password is a lock only. */
  readonly isSealed: boolean;
  readonly scope: "private" | "public";
  /** Empty: a demo key. */
  readonly apiKey: string;
}

/** What the lobby of a page says about it. */
export interface LobbyWords {
  readonly title: string;
  readonly lead: string;
  /** Who can come in with a password, and who without. */
  readonly closed: string;
  readonly open: string;
}

/** Which field a failure is about. */
const FIELD_OF: Readonly<Record<string, string>> = {
  name_taken: "name",
  unauthorized: "api-key",
  revoked: "api-key",
  used_up: "api-key",
  expired: "api-key",
  not_found: "api-key",
};

export class Lobby {
  private readonly name = byId("name", HTMLInputElement);
  private readonly channel = byId("channel", HTMLInputElement);
  private readonly password = byId("password", HTMLInputElement);
  private readonly apiKey = byId("api-key", HTMLInputElement);
  private readonly join = byId("join", HTMLButtonElement);
  private readonly joining = byId("joining", HTMLElement);
  private readonly problem = byId("lobby-notice", HTMLElement);
  private readonly words: LobbyWords;
  private link: Link | undefined;

  constructor(words: LobbyWords, enter: (entrance: Entrance) => void) {
    this.words = words;
    this.name.value = remembered();
    byId("lobby-form", HTMLFormElement).onsubmit = (event) => {
      event.preventDefault();
      if (this.isComplete()) enter(this.entrance);
    };
    this.password.oninput = () => this.tellPassword();
    const show = byId("password-show", HTMLButtonElement);
    show.onclick = () => this.showPassword(this.password.type === "password");
    byId("password-generate", HTMLButtonElement).onclick = () => {
      this.password.value = makePassword();
      this.showPassword(true);
      this.tellPassword();
    };
    for (const input of [this.name, this.channel, this.apiKey]) {
      input.addEventListener("input", () => input.removeAttribute("aria-invalid"));
    }
  }

  get entrance(): Entrance {
    return {
      name: this.name.value.trim(),
      channel: this.channel.value.trim(),
      password: this.password.value,
      isSealed: !this.isLockedOnly,
      scope: this.link?.scope ?? "private",
      apiKey: this.apiKey.value.trim(),
    };
  }

  /** Fills the form from the address of the page; says so where that is no link. */
  readAddress(address: string): void {
    this.link = undefined;
    this.clearProblem();
    if (address.includes("#") && !address.endsWith("#")) {
      try {
        this.link = parseLink(address);
      } catch (error) {
        if (!(error instanceof LinkError)) throw error;
        this.tell({
          tone: "bad",
          title: "The link is damaged",
          text: `${error.message} Ask for it once more, or fill in the form.`,
        });
      }
    }
    this.channel.value = this.link?.channel ?? DEFAULT_CHANNEL;
    this.password.value = this.link?.password ?? "";
    this.showPassword(false);
    this.tellPassword();
    this.tellLink();
  }

  /** What the server says of itself: without a demo project a key is needed. */
  noteDemo(isOn: boolean): void {
    if (!isOn) this.askForKey("This server has no demo project: enter a key of a project of yours.");
  }

  /** While an attempt is under way; an empty text ends that. */
  set attempt(words: string) {
    this.joining.textContent = words;
    this.join.disabled = words !== "";
    this.join.textContent = words ? "Joining…" : "Join";
  }

  /** Shows why it did not work, and puts the cursor where it can be mended. */
  failed(wording: Wording): void {
    this.tell(wording);
    const field = FIELD_OF[wording.code ?? ""];
    if (!field) {
      this.join.focus();
      return;
    }
    if (field === "api-key") byId("key-details", HTMLDetailsElement).open = true;
    const input = byId(field, HTMLInputElement);
    input.setAttribute("aria-invalid", "true");
    input.focus();
    input.select();
  }

  clearProblem(): void {
    this.problem.replaceChildren();
  }

  /** Notes the name for the next visit. */
  remember(): void {
    try {
      localStorage.setItem(NAME_KEY, this.name.value.trim());
    } catch {
      // Without storage the name has to be typed again, that is all.
    }
  }

  focus(): void {
    if (!this.name.value) this.name.focus();
    else this.join.focus();
  }

  private isComplete(): boolean {
    const { channel } = this.entrance;
    if (channel === "") {
      this.tell({
        tone: "bad",
        title: "Which channel?",
        text: "Enter a name: whoever enters the same one meets you there.",
      });
      this.channel.setAttribute("aria-invalid", "true");
      this.channel.focus();
    }
    return channel !== "";
  }

  private tell(wording: Wording): void {
    this.problem.replaceChildren(notice(wording));
  }

  private tellLink(): void {
    const { link } = this;
    byId("lobby-title", HTMLElement).textContent = link ? `Join “${link.channel}”` : this.words.title;
    byId("lobby-lead", HTMLElement).textContent = link
      ? `You followed a link${link.password ? ", which brought the password with it" : ""}.`
      : this.words.lead;
    const isForeign =
      link && link.scope === "private" && link.project !== "" && link.project !== DEMO_PROJECT;
    if (isForeign)
      this.askForKey(`The link leads to the project “${link.project}”: enter a key of that project.`);
  }

  private askForKey(hint: string): void {
    byId("key-details", HTMLDetailsElement).open = true;
    byId("key-hint", HTMLElement).textContent = hint;
  }

  private tellPassword(): void {
    byId("password-hint", HTMLElement).textContent = this.passwordWords();
  }

  private passwordWords(): string {
    const { length } = this.password.value;
    if (length === 0) return this.words.open;
    if (this.isLockedOnly) return LOCKED;
    return length < SAFE_CHARS ? `${this.words.closed} ${SHORT}` : this.words.closed;
  }

  /** The link means a channel that is not sealed; another password means another channel. */
  private get isLockedOnly(): boolean {
    return this.link?.isSealed === false && this.link.password === this.password.value;
  }

  private showPassword(isShown: boolean): void {
    const show = byId("password-show", HTMLButtonElement);
    this.password.type = isShown ? "text" : "password";
    show.setAttribute("aria-pressed", String(isShown));
    show.setAttribute("aria-label", isShown ? "Hide the password" : "Show the password");
    show.querySelector("pb-icon")?.setAttribute("name", isShown ? "eye-off" : "eye");
  }
}

function remembered(): string {
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}
