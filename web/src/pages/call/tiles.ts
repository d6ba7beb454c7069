/**
 * The tiles on the page.
 *
 * Owns their elements, and that an element stays as long as its tile does: a video that is taken out of the page stops.
 */

import { avatar } from "../channel/avatar";
import { make } from "../elements/element";
import { type IconName, icon } from "../elements/icon";
import { placesFor, type Rect } from "./layout";
import type { TileModel } from "./tile-model";

const REACTION_MS = 3_000;

export interface TileCallbacks {
  /** Show this one large, or (again) everybody alike. */
  readonly pin: (key: string) => void;
  /** The browser holds the sound back until somebody clicks. */
  readonly held: () => void;
}

class Tile {
  readonly element: HTMLElement;
  private readonly video = make("video", { playsinline: true, autoplay: true, "data-testid": "video" });
  private readonly person = make("div", { class: "tile-person" });
  private readonly label = make("span", { class: "tile-name" });
  private readonly silent = make("span", { class: "tile-silent" }, icon("mic-off"), unseen("microphone off"));
  private readonly hand = make("span", { class: "tile-hand" }, icon("hand"), unseen("hand raised"));
  private readonly status = make("p", { class: "tile-status", "data-testid": "tile-status" });
  private readonly pin: HTMLButtonElement;
  private readonly held: () => void;

  constructor(model: TileModel, { pin, held }: TileCallbacks) {
    this.held = held;
    this.pin = make("button", { type: "button", class: "button icon-only tile-pin" });
    this.pin.addEventListener("click", () => pin(model.key));
    this.element = make(
      "li",
      { class: "tile", "data-testid": "tile", "data-key": model.key },
      this.video,
      this.person,
      this.status,
      make("p", { class: "tile-label" }, this.silent, this.label),
      this.hand,
      this.pin,
    );
    // Property and attribute: the attribute alone does not silence an element that is made by a script.
    this.video.muted = model.isOwn;
    this.video.addEventListener("resize", () => this.noteSize());
  }

  show(model: TileModel, isPinned: boolean): void {
    const { name, isOwn, isScreen, stream } = model;
    const { element, video } = this;
    element.dataset["name"] = name;
    element.dataset["picture"] = model.hasPicture ? "on" : "off";
    element.dataset["own"] = String(isOwn);
    element.classList.toggle("is-screen", isScreen);
    element.classList.toggle("is-speaking", model.isSpeaking);
    element.classList.toggle("is-mirrored", model.isMirrored);
    element.classList.toggle("has-picture", model.hasPicture);
    this.showPerson(model);
    this.label.textContent = isScreen
      ? `${isOwn ? "Your" : `${name}’s`} screen`
      : isOwn
        ? `${name} (you)`
        : name;
    this.silent.hidden = !model.isSilent || isScreen;
    this.hand.hidden = !model.isHandUp;
    if (this.status.textContent !== model.status) this.status.textContent = model.status;
    const words = isPinned ? "Show everybody alike" : `Show ${isOwn ? "yourself" : name} large`;
    this.pin.title = words;
    this.pin.ariaLabel = words;
    this.pin.ariaPressed = String(isPinned);
    this.pin.replaceChildren(icon(isPinned ? "pin-off" : "pin"));
    if (video.srcObject !== (stream ?? null)) {
      video.srcObject = stream ?? null;
      if (stream) this.play();
    }
  }

  play(): void {
    this.video.play().catch((error: unknown) => {
      // A stream that was replaced meanwhile aborts the playing of the one before.
      if ((error as { readonly name?: string }).name === "NotAllowedError") this.held();
    });
  }

  react(name: IconName): void {
    const sign = make(
      "span",
      { class: "tile-reaction", "data-testid": "reaction", "data-name": name },
      icon(name),
    );
    this.element.append(sign);
    setTimeout(() => sign.remove(), REACTION_MS);
  }

  close(): void {
    this.video.srcObject = null;
    this.element.remove();
  }

  private showPerson({ identity, name, isScreen }: TileModel): void {
    const mark = `${identity} ${name}`;
    if (this.person.dataset["mark"] === mark) return;
    this.person.dataset["mark"] = mark;
    this.person.replaceChildren(isScreen ? icon("screen-share") : avatar(name, identity));
  }

  /** A picture that stands upright is not cut to a wide tile. */
  private noteSize(): void {
    const { videoWidth, videoHeight } = this.video;
    this.element.classList.toggle("is-upright", videoHeight > videoWidth);
  }
}

export class Tiles {
  private readonly list: HTMLElement;
  private readonly callbacks: TileCallbacks;
  private readonly tiles = new Map<string, Tile>();
  private readonly observer: ResizeObserver;
  private order: readonly string[] = [];
  private hasStage = false;

  constructor(list: HTMLElement, callbacks: TileCallbacks) {
    this.list = list;
    this.callbacks = callbacks;
    list.replaceChildren();
    this.observer = new ResizeObserver(() => this.place());
    this.observer.observe(list);
  }

  show(models: readonly TileModel[], hasStage: boolean, pinned: string | undefined): void {
    const keys = new Set(models.map(({ key }) => key));
    for (const [key, tile] of this.tiles) {
      if (keys.has(key)) continue;
      tile.close();
      this.tiles.delete(key);
    }
    for (const model of models) {
      let tile = this.tiles.get(model.key);
      if (!tile) {
        tile = new Tile(model, this.callbacks);
        this.tiles.set(model.key, tile);
        this.list.append(tile.element);
      }
      tile.show(model, model.key === pinned);
    }
    this.order = models.map(({ key }) => key);
    this.hasStage = hasStage;
    this.place();
  }

  /** Shows a sign on a tile for a moment. */
  react(key: string, name: IconName): void {
    this.tiles.get(key)?.react(name);
  }

  /** Plays what the browser held back. */
  play(): void {
    for (const tile of this.tiles.values()) tile.play();
  }

  close(): void {
    this.observer.disconnect();
    for (const tile of this.tiles.values()) tile.close();
    this.tiles.clear();
  }

  private place(): void {
    const space = { width: this.list.clientWidth, height: this.list.clientHeight };
    this.list.dataset["count"] = String(this.order.length);
    const places = placesFor(this.order.length, space, this.hasStage ? "stage" : "grid");
    for (const [at, key] of this.order.entries()) {
      const [element, place] = [this.tiles.get(key)?.element, places[at]];
      if (!element || !place) continue;
      const { left, top, width, height } = place;
      element.style.transform = `translate(${left}px, ${top}px)`;
      element.style.width = `${width}px`;
      element.style.height = `${height}px`;
      element.classList.toggle("is-small", width < 200 || height < 150);
      element.classList.toggle("is-corner", at > 0 && liesOn(place, places[0]));
    }
  }
}

/** Whether a place is one upon another, as the own one is in a call of two on a phone. */
function liesOn({ left, top }: Rect, below: Rect | undefined): boolean {
  return (
    below !== undefined &&
    left < below.left + below.width &&
    top < below.top + below.height &&
    left > below.left &&
    top > below.top
  );
}

function unseen(text: string): HTMLElement {
  return make("span", { class: "unseen" }, text);
}
