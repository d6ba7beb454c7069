/** Which offer is under way, and which signals count. */
import { beforeEach, describe, expect, test } from "vitest";
import { Negotiation } from "../../src/sdk/webrtc/negotiation";

const DESCRIBED = { sdp: "v=0", tracks: [], slots: ["0"] };

let negotiation: Negotiation;

beforeEach(() => {
  negotiation = new Negotiation();
  negotiation.begin("c1");
});

const answer = (number: number, { connection = "c1", term = 1 } = {}) =>
  ({ kind: "answer", connection, number, sdp: "", term }) as const;

const refusal = (number?: number) =>
  ({
    kind: "refused",
    connection: "c1",
    code: "bad_offer",
    message: "",
    details: {},
    ...(number === undefined ? {} : { number }),
  }) as const;

describe("offers", () => {
  test("are numbered from 1, and name their connection", () => {
    expect(negotiation.next()).toEqual({ isIceRestart: false });
    expect(negotiation.offer(DESCRIBED)).toEqual({
      kind: "offer",
      connection: "c1",
      number: 1,
      ...DESCRIBED,
    });
  });

  test("go out one at a time; what is wanted meanwhile comes with the next", () => {
    negotiation.next();
    negotiation.offer(DESCRIBED);
    negotiation.want();
    negotiation.want({ isIceRestart: true });
    negotiation.want();
    expect(negotiation.next()).toBeUndefined();
    expect(negotiation.takesAnswer(answer(1))).toBe(true);
    negotiation.settle();
    expect(negotiation.next()).toEqual({ isIceRestart: true });
    expect(negotiation.offer(DESCRIBED).number).toBe(2);
    negotiation.settle();
    expect(negotiation.next()).toBeUndefined();
  });

  test("begin anew with a new connection", () => {
    negotiation.next();
    negotiation.offer(DESCRIBED);
    negotiation.want({ isIceRestart: true });
    negotiation.begin("c2");
    expect(negotiation.next()).toEqual({ isIceRestart: false });
    expect(negotiation.offer(DESCRIBED)).toMatchObject({ connection: "c2", number: 1 });
    expect(negotiation.takesAnswer(answer(1))).toBe(false);
  });

  test("are none without a connection", () => {
    negotiation.end();
    negotiation.want();
    expect(negotiation.next()).toBeUndefined();
  });
});

describe("signals", () => {
  test("of another offer, or of one that is settled, are refused", () => {
    expect(negotiation.takesAnswer(answer(0))).toBe(false);
    negotiation.next();
    negotiation.offer(DESCRIBED);
    expect(negotiation.takesAnswer(answer(2))).toBe(false);
    expect(negotiation.takesAnswer(answer(1, { connection: "c0" }))).toBe(false);
    expect(negotiation.takesAnswer(answer(1))).toBe(true);
    negotiation.settle();
    expect(negotiation.takesAnswer(answer(1))).toBe(false);
  });

  test("of an older term are refused", () => {
    expect(negotiation.takesTerm(3)).toBe(true);
    expect(negotiation.takesTerm(2)).toBe(false);
    expect(negotiation.takesTerm(3)).toBe(true);
    negotiation.next();
    negotiation.offer(DESCRIBED);
    expect(negotiation.takesAnswer(answer(1, { term: 2 }))).toBe(false);
    expect(negotiation.takesAnswer(answer(1, { term: 4 }))).toBe(true);
    expect(negotiation.takesTerm(3)).toBe(false);
  });

  test("that refuse the offer end it; others do not", () => {
    negotiation.next();
    negotiation.offer(DESCRIBED);
    negotiation.want();
    expect(negotiation.takesRefusal(refusal())).toBe(false);
    expect(negotiation.takesRefusal(refusal(9))).toBe(false);
    expect(negotiation.isUnderWay).toBe(true);
    expect(negotiation.takesRefusal(refusal(1))).toBe(true);
    expect(negotiation.isUnderWay).toBe(false);
    expect(negotiation.next()).toEqual({ isIceRestart: false });
  });
});
