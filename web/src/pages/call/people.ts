/**
 * The list of everyone in the call.
 *
 * Owns its elements.
 */

import type { EncryptionState, Peer, RemotePublication } from "../../sdk/webrtc/records";
import { avatar } from "../channel/avatar";
import { make } from "../elements/element";
import { icon } from "../elements/icon";
import { encryptionWords } from "./wording";

export interface PeopleView {
  readonly ownName: string;
  readonly ownIdentity: string;
  readonly isOwnMicrophoneOn: boolean;
  readonly peers: readonly Peer[];
  readonly encryptionOf: (publication: RemotePublication) => EncryptionState;
  readonly handsUp: ReadonlySet<string>;
}

export function showPeople(list: HTMLElement, view: PeopleView): void {
  const own = item(view.ownName, view.ownIdentity, "you", view.isOwnMicrophoneOn, view);
  const sorted = [...view.peers].sort((a, b) => a.name.localeCompare(b.name));
  list.replaceChildren(own, ...sorted.map((peer) => personOf(peer, view)));
}

function personOf({ name, identity, publications }: Peer, view: PeopleView): HTMLElement {
  const isOn = (media: string): boolean => publications.some((one) => one.media === media && !one.isMuted);
  const words = publications.some(({ source }) => source === "screen")
    ? "shares a screen"
    : isOn("video")
      ? "with video"
      : isOn("audio")
        ? "with sound only"
        : "listens";
  const hidden = publications.map((one) => encryptionWords(view.encryptionOf(one))).find(Boolean);
  return item(name, identity, hidden?.toLowerCase() ?? words, isOn("audio") && !hidden, view);
}

function item(
  name: string,
  identity: string,
  words: string,
  canBeHeard: boolean,
  view: PeopleView,
): HTMLElement {
  return make(
    "li",
    { class: "person", "data-testid": "person", "data-name": name },
    avatar(name, identity),
    make(
      "span",
      { class: "person-words" },
      make("span", { class: "person-name" }, name),
      make("span", { class: "person-state" }, view.handsUp.has(identity) ? `${words} · hand raised` : words),
    ),
    icon(canBeHeard ? "mic" : "mic-off"),
  );
}
