/**
 * Lengths of time for people.
 *
 * Owns the form: the two largest units, "3 d 4 h", "12 min 5 s".
 */

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
] as const;

export function duration(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const first = UNITS.findIndex(([, length]) => total >= length);
  if (first < 0) return "0 s";
  let rest = total;
  return UNITS.slice(first, first + 2)
    .map(([unit, length]) => {
      const count = Math.floor(rest / length);
      rest -= count * length;
      return `${count} ${unit}`;
    })
    .join(" ");
}
