/**
 * The page /test: tests the connection to this server, and says what works and what to do about the rest.
 *
 * Owns the button and the report. What is tried is `examination`, what it means `judgement`; `peerbus doctor` does the same.
 */

import "../elements/copy";
import "../elements/icon";
import { noteScriptAddress } from "../../sdk/agent/address";
import { byId, make } from "../elements/element";
import { serverStatus } from "../status";
import { CLIENT, examine } from "./examination";
import { showFindings, showRunning, showVerdict } from "./findings-view";
import { judge } from "./judgement";
import { asJson, asText } from "./report";

noteScriptAddress(location.origin);

/** So long the browser has to begin saving. */
const KEPT_MS = 10_000;
const DEFAULT_TIMEOUT_S = 6;
const LONGEST_TIMEOUT_S = 120;
/** How long each attempt may take: `/test?timeout=SECONDS`, as `peerbus doctor --timeout`. */
const asked = Number(new URLSearchParams(location.search).get("timeout"));
const timeoutMs = 1000 * (asked > 0 && asked <= LONGEST_TIMEOUT_S ? asked : DEFAULT_TIMEOUT_S);
const start = byId("start", HTMLButtonElement);
const verdict = byId("verdict", HTMLElement);
const findings = byId("findings", HTMLElement);
const afterwards = ["actions", "details"].map((id) => byId(id, HTMLElement));
/** The report of the last test, as JSON. */
let lastJson = "";

async function run(): Promise<void> {
  start.disabled = true;
  start.textContent = "Testing…";
  for (const part of afterwards) part.hidden = true;
  findings.hidden = true;
  byId("result", HTMLElement).hidden = false;
  showRunning(verdict, "The server");
  const apiKey = byId("key", HTMLInputElement).value.trim();
  const given = { base: location.origin, apiKey, timeoutMs };
  const { facts, correlationId } = await examine(given, (soFar, now) => {
    findings.hidden = false;
    showFindings(findings, judge(soFar).findings);
    if (now) showRunning(verdict, now);
  });
  const judgement = judge(facts);
  showFindings(findings, judgement.findings);
  showVerdict(verdict, judgement.verdict);
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const around = { time, api: location.origin, client: CLIENT, correlation_id: correlationId };
  byId("report-text", HTMLElement).textContent = asText(around, judgement);
  lastJson = asJson(around, facts, judgement);
  byId("correlation", HTMLElement).textContent = correlationId
    ? `In the server's log: ${correlationId}`
    : "The server's log has nothing of it.";
  for (const part of afterwards) part.hidden = false;
  start.textContent = "Test again";
  start.disabled = false;
}

function download(): void {
  const href = URL.createObjectURL(new Blob([lastJson], { type: "application/json" }));
  make("a", { href, download: "connection-test.json" }).click();
  setTimeout(() => URL.revokeObjectURL(href), KEPT_MS);
}

byId("download", HTMLButtonElement).addEventListener("click", download);
byId("begin", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void run();
});
void serverStatus().then((status) => {
  byId("key-field", HTMLElement).hidden = status?.demo !== false;
});
