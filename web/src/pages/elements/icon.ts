/**
 * `<pb-icon name="send">`: one icon of the set, in the colour of the text around it.
 *
 * Owns the drawing. An icon never stands for words: it is hidden from screen readers, and text stands beside it or in
 * the label of its button.
 */

import { ICONS } from "./icons.gen";

export type IconName = keyof typeof ICONS;

const SVG = "http://www.w3.org/2000/svg";

class IconElement extends HTMLElement {
  static readonly observedAttributes = ["name"];

  attributeChangedCallback(): void {
    const name = this.getAttribute("name") ?? "";
    this.setAttribute("aria-hidden", "true");
    this.replaceChildren(...(Object.hasOwn(ICONS, name) ? [drawing(name as IconName)] : []));
  }
}

function drawing(name: IconName): SVGElement {
  const svg = shape("svg", {
    viewBox: "0 0 24 24",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "2",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  for (const [tag, attributes] of ICONS[name]) svg.append(shape(tag, attributes));
  return svg;
}

function shape(tag: string, attributes: Readonly<Record<string, string>>): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

customElements.define("pb-icon", IconElement);

export function icon(name: IconName): HTMLElement {
  const element = document.createElement("pb-icon");
  element.setAttribute("name", name);
  return element;
}
