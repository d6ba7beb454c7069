/**
 * A text as a QR code (ISO/IEC 18004), drawn as SVG.
 *
 * Owns the drawing; the code itself is computed by uqr.
 */

import { encode } from "uqr";

const SVG = "http://www.w3.org/2000/svg";

/** Dark on transparent; the ground has to be light in every colour scheme, or cameras don't find it. */
export function qrCode(text: string): SVGElement {
  const { data, size } = encode(text, { ecc: "M", border: 2 });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("shape-rendering", "crispEdges");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("fill", "#000000");
  path.setAttribute(
    "d",
    data.flatMap((row, y) => runs(row).map(([x, length]) => `M${x} ${y}h${length}v1h-${length}z`)).join(""),
  );
  svg.append(path);
  return svg;
}

/** Where dark modules begin in a row, and how many follow each other. */
function runs(row: readonly boolean[]): [start: number, length: number][] {
  const found: [number, number][] = [];
  for (const [x, isDark] of row.entries()) {
    const last = found.at(-1);
    if (!isDark) continue;
    if (last && last[0] + last[1] === x) last[1] += 1;
    else found.push([x, 1]);
  }
  return found;
}
