/** What the facts of a connection test mean: the vectors that `peerbus doctor` runs, too. */
import { describe, expect, test } from "vitest";
import type { Facts } from "../../../src/pages/test/facts";
import type { Finding } from "../../../src/pages/test/finding";
import { judge, type Verdict } from "../../../src/pages/test/judgement";
import { asJson, asText } from "../../../src/pages/test/report";
import { vector } from "../../vectors";

interface Case {
  readonly name: string;
  readonly facts: Facts;
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly text: string;
}

const AROUND = { time: "2026-01-02T03:04:05Z", api: "http://h", client: "c/1", correlation_id: "abc" };

describe("judgements", () => {
  for (const { name, facts, verdict, findings, text } of vector<Case[]>("doctor/judgements.json")) {
    test(name, () => {
      const judgement = judge(facts);
      expect(judgement).toEqual({ verdict, findings });
      expect(asText(AROUND, judgement)).toBe(text);
      const json = JSON.parse(asJson(AROUND, facts, judgement));
      expect(json).toEqual({ report: 1, circumstances: AROUND, verdict, findings, facts });
    });
  }
});
