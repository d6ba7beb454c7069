/**
 * The list of people on the page.
 *
 * Owns the elements. Whoever is chosen is told to the callbacks.
 */

import type { Member } from "../../sdk/agent/records";
import { avatar } from "../channel/avatar";
import { memberWords } from "../channel/wording";
import { make } from "../elements/element";
import { icon } from "../elements/icon";

export interface PeopleCallbacks {
  /** Write to this person alone. */
  readonly direct: (member: Member) => void;
  /** Remove this person; absent where the key does not allow it. */
  readonly remove?: (member: Member) => void;
}

/** Shows the members in `list`: oneself first, the others by name. */
export function showPeople(
  list: HTMLElement,
  members: readonly Member[],
  ownSession: string,
  callbacks: PeopleCallbacks,
): void {
  const isSelf = (member: Member): boolean => member.sessionId === ownSession;
  const sorted = [...members].sort(
    (a, b) => Number(isSelf(b)) - Number(isSelf(a)) || a.name.localeCompare(b.name) || a.order - b.order,
  );
  const focused = list.querySelector<HTMLElement>(":focus")?.dataset["session"];
  list.replaceChildren(...sorted.map((member) => person(member, isSelf(member), callbacks)));
  if (focused) list.querySelector<HTMLElement>(`button[data-session="${CSS.escape(focused)}"]`)?.focus();
}

function person(member: Member, isSelf: boolean, { direct, remove }: PeopleCallbacks): HTMLElement {
  const words = make(
    "span",
    { class: "person-words" },
    make("span", { class: "person-name" }, member.name),
    make("span", { class: "person-state" }, memberWords(member, isSelf)),
  );
  const sign = avatar(member.name, member.identity);
  const item = make("li", {
    class: `person ${member.state}`,
    "data-testid": "person",
    "data-name": member.name,
    "data-state": member.state,
  });
  if (isSelf) {
    item.append(make("div", { class: "person-main" }, sign, words));
    return item;
  }
  const main = make(
    "button",
    { type: "button", class: "person-main", "data-session": member.sessionId, title: "Write to them alone" },
    sign,
    words,
    writeSign(),
  );
  main.addEventListener("click", () => direct(member));
  item.append(main);
  if (remove) {
    const label = `Remove ${member.name} from the channel`;
    const button = make(
      "button",
      { type: "button", class: "button plain icon-only person-remove", "aria-label": label, title: "Remove" },
      icon("user-x"),
    );
    button.addEventListener("click", () => remove(member));
    item.append(button);
  }
  return item;
}

function writeSign(): HTMLElement {
  const sign = icon("message-circle");
  sign.classList.add("person-write");
  return sign;
}
