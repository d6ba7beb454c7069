/** The body of /call as the server serves it, in an emulated page. */
import html from "../../../src/pages/call/index.html?raw";

/** Puts the markup of the page into the document, without its scripts. */
export function openCallPage(): void {
  document.body.innerHTML = html.slice(html.indexOf("<body>") + "<body>".length, html.indexOf("</body>"));
}
