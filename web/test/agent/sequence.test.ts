/** Steps that take time keep their order. */
import { expect, test } from "vitest";
import { Sequence, type Step } from "../../src/sdk/agent/sequence";

/** A step that is made when `finish` is called. */
function later(step: Step): { readonly made: Promise<Step>; readonly finish: () => Promise<void> } {
  let resolve: (step: Step) => void = () => undefined;
  const made = new Promise<Step>((settle) => {
    resolve = settle;
  });
  return {
    made,
    finish: async () => {
      resolve(step);
      await made;
    },
  };
}

test("steps are done in the order in which they were added, whatever is ready first", async () => {
  const done: string[] = [];
  const note =
    (text: string): Step =>
    () =>
      done.push(text);
  const sequence = new Sequence();
  sequence.add(note("at once"));
  expect(done).toEqual(["at once"]);
  const [slow, quick] = [later(note("slow")), later(note("quick"))];
  sequence.add(slow.made);
  sequence.add(quick.made);
  sequence.add(note("ready"));
  await quick.finish();
  expect(done).toEqual(["at once"]);
  await slow.finish();
  expect(done).toEqual(["at once", "slow", "quick", "ready"]);
});

test("a step that adds another is done first", () => {
  const done: string[] = [];
  const sequence = new Sequence();
  sequence.add(() => {
    sequence.add(() => done.push("second"));
    done.push("first");
  });
  expect(done).toEqual(["first", "second"]);
});

test("in a hurry what is not ready is skipped, and not done later either", async () => {
  const done: string[] = [];
  const sequence = new Sequence();
  const slow = later(() => done.push("slow"));
  sequence.add(slow.made, () => done.push("skipped"));
  sequence.add(() => done.push("ready"));
  sequence.hurry();
  expect(done).toEqual(["skipped", "ready"]);
  await slow.finish();
  sequence.add(() => done.push("after"));
  expect(done).toEqual(["skipped", "ready", "after"]);
});
