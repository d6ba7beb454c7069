/** What a member keeps for the next host is bounded; the rest of the record is covered by the transcripts of the machine. */

import { expect, test } from "vitest";
import { HOST_ROLE } from "../../src/sdk/webrtc/host-frames";
import { HostRecord } from "../../src/sdk/webrtc/host-record";

test.each([
  ["messages", 8_200, 1],
  ["bytes", 300, 16_000],
])("what came after a state that is never set again is kept up to a bound of %s", (_, count, size) => {
  const record = new HostRecord("ann");
  const data = new Uint8Array();
  record.takeSnapshot({ age: [7, 1], n: 0, floor: 1, done: new Map(), kind: 0, data });
  const frame = new Uint8Array(size);
  for (let n = 1; n <= count; n++) {
    record.log.put({ n, term: 7, sender: "bob", to: [HOST_ROLE], isForHost: true, frame, atMs: 0 });
  }
  record.stable = count;
  record.prune();
  const kept = record.log.between(0, count);
  expect(kept.length).toBeGreaterThan(count / 2);
  expect(kept.length + record.forgotten).toBe(count);
  expect(record.forgotten).toBeGreaterThan(0);
  expect(kept.at(-1)?.n).toBe(count);
  expect(kept.length * size).toBeLessThanOrEqual(4 * 1_048_576);
});
