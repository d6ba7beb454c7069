/** The body of /chat as the server serves it, in an emulated page. */
import html from "../../src/pages/chat/index.html?raw";

/** Puts the markup of the page into the document, without its scripts. */
export function openChatPage(): void {
  const body = html.slice(html.indexOf("<body>") + "<body>".length, html.indexOf("</body>"));
  document.body.innerHTML = body;
}

/** The element with this test id. */
export function part<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.querySelector<T>(`[data-testid="${id}"]`);
  if (!element) throw new Error(`The page has no ${id}.`);
  return element;
}

export function parts(id: string): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>(`[data-testid="${id}"]`)];
}

export function texts(id: string): string[] {
  return parts(id).map((element) => (element.textContent ?? "").trim());
}
