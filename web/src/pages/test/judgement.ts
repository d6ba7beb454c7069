/**
 * What the facts of a connection test mean, and what to do about it, in plain words.
 *
 * The twin of `peerbus.client.doctor.judgement`; both run `tests/vectors/doctor`. Owns every sentence and every bound.
 * Never tries anything.
 */

import type { Attempt, CallAttempt, DeviceState, Facts, Quality, ServerAttempt } from "./facts";

export type Status = "ok" | "warn" | "fail" | "skipped";

/** One line of the report. */
export interface Finding {
  readonly check: string;
  readonly label: string;
  readonly status: Status;
  readonly summary: string;
  readonly remedy?: string;
  /** The exact error. */
  readonly detail?: string;
  readonly ms?: number;
}

/** The line on top. `fail`: something without which calls or messages do not work. */
export interface Verdict {
  readonly status: Status;
  readonly headline: string;
  readonly remedies?: readonly string[];
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
}

const LOSS_PERCENT = 3;
const JITTER_MS = 30;
const RTT_MS = 300;
const MBIT_PER_S = 1;
/** How an error begins that the certificate is the reason of. */
const TLS_ERROR = "TLS: ";
const KEY_CODES = new Set(["unauthorized", "expired", "revoked", "forbidden", "used_up"]);
const CREDENTIAL_CODES = new Set(["401", "403", "438", "441"]);
/** Why a call failed that never came as far as the network. */
const SAID_BY_SERVER = new Set(["no_worker", ...KEY_CODES]);

const UDP_REMEDY =
  "Use another network, or have its firewall let UDP out. The operator: offer TURN by TLS on port 443, see turn-config/README.md.";
const WORKER_REMEDY =
  "Open the worker's UDP port (7900) in the firewall, and name the address by which the world reaches it: `--advertise HOST`.";

/** What the facts mean. */
export function judge(facts: Facts): Judgement {
  const findings = findingsOf(facts);
  // What fails goes before what could be better.
  const failed = findings.filter(({ status }) => status === "fail");
  const causes = [...failed, ...findings.filter(({ status }) => status === "warn")];
  const status = failed.length > 0 ? "fail" : causes.length > 0 ? "warn" : "ok";
  const [headline = ""] = [
    ...headlinesOf(facts),
    ...causes.map(({ summary }) => summary),
    "Everything works.",
  ];
  const remedies = [...new Set(causes.flatMap(({ remedy }) => remedy ?? []))];
  return { verdict: { status, headline, ...(remedies.length > 0 ? { remedies } : {}) }, findings };
}

// --- what several facts mean together ------------------------------------------------------------------------------

const worked = (attempt: Attempt | undefined): boolean => attempt?.ms !== undefined;
const isTurn = ({ url }: ServerAttempt): boolean => url.startsWith("turn");
const isUdp = ({ url }: ServerAttempt): boolean =>
  url.startsWith("stun:") || (url.startsWith("turn:") && !url.endsWith("transport=tcp"));
const isRefused = (server: ServerAttempt): boolean =>
  !worked(server) && CREDENTIAL_CODES.has(server.code ?? "");

/** Whether a call failed on the network. */
function isLost(call: CallAttempt | undefined): boolean {
  return call !== undefined && !worked(call) && !SAID_BY_SERVER.has(call.code ?? "");
}

/** Whether nothing that goes by UDP got through, while the server answers by other ways. */
function isUdpBlocked(facts: Facts): boolean {
  const udp = (facts.servers ?? []).filter(isUdp);
  const isServerThere = worked(facts.websocket) || worked(facts.longpoll);
  const nobodyAnswers = udp.every((server) => !worked(server) && !isRefused(server));
  return isServerThere && isLost(facts.call) && udp.length > 0 && nobodyAnswers;
}

/** The causes behind several findings, the gravest first. */
function headlinesOf(facts: Facts): string[] {
  const said: string[] = [];
  const ways = [facts.websocket, facts.longpoll].flatMap((attempt) => attempt ?? []);
  if (facts.is_secure === false) {
    said.push("This page is not secure: camera, microphone and encryption are switched off by the browser.");
  }
  if (ways.length > 0 && !ways.some(worked)) {
    const isKey = ways.some(({ code }) => KEY_CODES.has(code ?? ""));
    said.push(isKey ? "The server refuses the key." : "The signaling server cannot be reached.");
    return said;
  }
  if (isUdpBlocked(facts)) {
    said.push(
      worked(facts.relay_call)
        ? "UDP is blocked on this network: calls go through the TURN server by TCP."
        : "UDP is blocked on this network.",
    );
  }
  const servers = facts.servers ?? [];
  if (servers.some(isRefused)) said.push("The TURN server refuses the credential.");
  // What the call's own line says.
  if (facts.call && !worked(facts.call)) return said;
  const turn = servers.filter(isTurn);
  if (turn.length > 0 && !turn.some(worked)) said.push("The TURN server does not answer.");
  else if (!turn.every(worked)) said.push("The TURN server does not answer by every way.");
  if (facts.camera && facts.camera !== "ok") said.push(DEVICE_TROUBLE[facts.camera]("camera")[0]);
  const isSlow = facts.mbit_per_s !== undefined && facts.mbit_per_s < MBIT_PER_S;
  if (isSlow || (facts.quality && isBad(facts.quality))) said.push("The line is slow, or loses too much.");
  return said;
}

// --- one line for each check ---------------------------------------------------------------------------------------

function findingsOf(facts: Facts): Finding[] {
  const found: Finding[] = [];
  const { is_secure, websocket, longpoll, call, relay_call, mbit_per_s, quality, camera, microphone } = facts;
  if (is_secure !== undefined) found.push(ofSecureContext(is_secure));
  if (websocket) found.push(ofWebsocket(websocket, worked(longpoll)));
  if (longpoll) found.push(ofLongpoll(longpoll, worked(websocket)));
  if (facts.servers) found.push(...ofServers(facts, facts.servers));
  if (facts.candidates) found.push(ofCandidates(facts));
  if (facts.nat) found.push(ofNat(facts));
  if (call) found.push(ofCall(facts, call));
  if (relay_call) found.push(ofRelayCall(facts, relay_call));
  if (mbit_per_s !== undefined) found.push(ofThroughput(mbit_per_s));
  if (quality) found.push(ofQuality(quality));
  if (camera) found.push(ofDevice("camera", camera));
  if (microphone) found.push(ofDevice("microphone", microphone));
  return found;
}

function ofSecureContext(isSecure: boolean): Finding {
  if (isSecure) return finding("secure_context", "ok", "The browser takes this page for secure.");
  return finding(
    "secure_context",
    "fail",
    "The browser does not take this page for secure.",
    "Open it by https://, or on the server's own machine by http://localhost. The operator: start with --tls self-signed, or with a certificate.",
  );
}

function ofWebsocket(attempt: Attempt, isOtherOk: boolean): Finding {
  if (worked(attempt)) return tried("signaling_websocket", attempt, `Connected in ${attempt.ms} ms.`);
  if (!isOtherOk) return signalingFailed("signaling_websocket", attempt);
  return failed(
    "signaling_websocket",
    "warn",
    attempt,
    "WebSockets do not get through; everything goes by long-poll, which is slower.",
    "A proxy in between has to pass on the headers Upgrade and Connection of /v1/ws.",
  );
}

function ofLongpoll(attempt: Attempt, isOtherOk: boolean): Finding {
  if (worked(attempt)) return tried("signaling_longpoll", attempt, `Connected in ${attempt.ms} ms.`);
  if (!isOtherOk) return signalingFailed("signaling_longpoll", attempt);
  return failed(
    "signaling_longpoll",
    "warn",
    attempt,
    "Long-poll does not get through; there is no second way where WebSockets fail.",
    "A proxy in between has to pass on POST and GET below /v1/longpoll, and to wait 30 s for an answer.",
  );
}

function signalingFailed(check: string, attempt: Attempt): Finding {
  if (KEY_CODES.has(attempt.code ?? "")) {
    const remedy = "Use a key that is good for this server and this channel.";
    return failed(check, "fail", attempt, "The server refuses the key.", remedy);
  }
  const remedy =
    "Check the address, and that the server runs (`peerbus serve`) and no firewall is in between.";
  return failed(check, "fail", attempt, "The server does not answer.", remedy);
}

function ofServers(facts: Facts, servers: readonly ServerAttempt[]): Finding[] {
  const found: Finding[] = [];
  if (!servers.some(isTurn)) {
    found.push(
      finding(
        "turn",
        isLost(facts.call) ? "warn" : "skipped",
        "The server has no TURN server to offer.",
        "Who is in a network that lets no UDP out needs one: `peerbus serve --with-turn`, turn-config/README.md.",
      ),
    );
  }
  const isRelayed = servers.some((server) => worked(server) && isTurn(server));
  return [...found, ...servers.map((server) => ofServer(server, isRelayed, isUdpBlocked(facts)))];
}

function ofServer(server: ServerAttempt, isRelayed: boolean, isBlocked: boolean): Finding {
  const check = `ice_server ${server.url}`;
  if (worked(server)) {
    return tried(check, server, `${isTurn(server) ? "It relays" : "It answers"}, after ${server.ms} ms.`);
  }
  if (isRefused(server)) {
    return failed(
      check,
      "fail",
      server,
      "It refuses the credential.",
      "Server and TURN server have different secrets, or clocks: write coturn's configuration anew with `peerbus turn-config`, restart coturn, and compare the clocks.",
    );
  }
  if (isBlocked && isUdp(server)) {
    return failed(check, "warn", server, "No answer: UDP does not get through.", UDP_REMEDY);
  }
  if (server.error?.startsWith(TLS_ERROR)) {
    return failed(
      check,
      "warn",
      server,
      "Its certificate is not taken.",
      "Give coturn a certificate for its own name that is trusted and has not ended: --turn-cert and --turn-key.",
    );
  }
  return failed(
    check,
    isRelayed || !isTurn(server) ? "warn" : "fail",
    server,
    "It does not answer.",
    "Check that coturn runs and that its ports are open: 3478 for UDP and TCP, its TLS port, and its relay ports.",
  );
}

function ofCandidates({ candidates = {} }: Facts): Finding {
  const { host = 0, mdns = 0, srflx = 0, relay = 0, ipv6 = 0 } = candidates;
  if (host + mdns + srflx + relay > 0) {
    const text = `${host} host, ${mdns} mDNS, ${srflx} srflx, ${relay} relay; ${ipv6} of them IPv6.`;
    return finding("candidates", "ok", text);
  }
  return finding(
    "candidates",
    "warn",
    "No address was found.",
    "A browser extension or a policy may forbid WebRTC its addresses; switch it off for this site.",
  );
}

function ofNat({ nat = {}, call, relay_call }: Facts): Finding {
  const { servers = 0, mappings = [], is_direct = false } = nat;
  if (is_direct) return finding("nat", "ok", "There is none: others see this machine's own address.");
  if (servers === 0) return finding("nat", "skipped", "Unknown: no STUN server answered.");
  if (mappings.length > 1) {
    return finding(
      "nat",
      worked(relay_call) || worked(call) ? "ok" : "warn",
      "It maps each destination anew (symmetric): between peers a TURN server or the media worker is needed.",
    );
  }
  const [seen = ""] = mappings;
  const text =
    servers === 1
      ? `Seen as ${seen}; one STUN server cannot tell how it maps.`
      : `It keeps its mapping (seen as ${seen}): peers can reach each other.`;
  return finding("nat", "ok", text);
}

function ofCall(facts: Facts, call: CallAttempt): Finding {
  if (worked(call)) return tried("call", call, summaryOf(call));
  if (call.code === "no_worker") {
    return failed(
      "call",
      "fail",
      call,
      "The server has no media worker.",
      "Start a media worker: `peerbus serve` does, unless --sfu-workers is 0; `peerbus sfu` on another machine.",
    );
  }
  if (KEY_CODES.has(call.code ?? "")) {
    return failed("call", "fail", call, "The key does not allow calls.", "Use a key that allows them.");
  }
  const isRelayed = worked(facts.relay_call);
  const status = isRelayed ? "warn" : "fail";
  if (isUdpBlocked(facts)) {
    return failed("call", status, call, "No path: UDP does not get through.", UDP_REMEDY);
  }
  const summary = isRelayed
    ? "The media worker is reached through the TURN server only."
    : "The media worker cannot be reached.";
  return failed("call", status, call, summary, WORKER_REMEDY);
}

function ofRelayCall(facts: Facts, call: CallAttempt): Finding {
  if (worked(call)) return tried("relay_call", call, summaryOf(call));
  if (!(facts.servers ?? []).some((server) => worked(server) && isTurn(server))) {
    return failed("relay_call", "warn", call, "Not possible: no TURN server relays.", "");
  }
  return failed(
    "relay_call",
    "warn",
    call,
    "The TURN server relays, but not to the media worker.",
    "Allow the worker's address, if it is a private one: `--turn-allow-peers`, and open the relay ports.",
  );
}

function summaryOf({ ms, data_ms, media_ms }: CallAttempt): string {
  const parts = [`In the call after ${ms} ms`];
  if (data_ms !== undefined) parts.push(`data there and back in ${data_ms} ms`);
  if (media_ms !== undefined) parts.push(`first picture after ${media_ms} ms`);
  return `${parts.join(", ")}.`;
}

function ofThroughput(mbitPerS: number): Finding {
  const text = `${mbitPerS.toFixed(1)} Mb/s by data channel.`;
  if (mbitPerS >= MBIT_PER_S) return finding("throughput", "ok", text);
  const remedy = "Too little for video: end other downloads, or send small pictures.";
  return finding("throughput", "warn", text, remedy);
}

const lostPercent = ({ sent, received }: Quality): number => (100 * (sent - received)) / Math.max(1, sent);

function isBad(quality: Quality): boolean {
  const { rtt_ms = 0, jitter_ms = 0 } = quality;
  return jitter_ms > JITTER_MS || rtt_ms > RTT_MS || lostPercent(quality) > LOSS_PERCENT;
}

function ofQuality(quality: Quality): Finding {
  const { rtt_ms = 0, jitter_ms = 0 } = quality;
  const lost = lostPercent(quality).toFixed(1);
  const text = `${lost} % lost, ${rtt_ms.toFixed(0)} ms there and back, ${jitter_ms.toFixed(0)} ms jitter.`;
  if (!isBad(quality)) return finding("quality", "ok", text);
  const remedy =
    "Calls will stutter: use a cable or stand nearer to the access point, and end other downloads.";
  return finding("quality", "warn", text, remedy);
}

const DEVICE_TROUBLE: Readonly<
  Record<Exclude<DeviceState, "ok">, (device: string) => readonly [string, string]>
> = {
  none: (device) => [
    `There is no ${device}.`,
    `Connect a ${device}, and see that the system's settings list it; without one you can still see and hear.`,
  ],
  denied: (device) => [
    `The ${device} is blocked for this site.`,
    `Click the lock in the address bar, allow the ${device}, and test again.`,
  ],
  busy: (device) => [
    `The ${device} is used by another program.`,
    `Close the program that uses the ${device}, and test again.`,
  ],
  failed: (device) => [
    `The ${device} does not start.`,
    `Unplug the ${device} and plug it in again, or restart the browser.`,
  ],
};

function ofDevice(device: string, state: DeviceState): Finding {
  if (state === "ok") return finding(device, "ok", `The ${device} works.`);
  const [summary, remedy] = DEVICE_TROUBLE[state](device);
  return finding(device, "warn", summary, remedy);
}

// --- lines ---------------------------------------------------------------------------------------------------------

const LABELS: Readonly<Record<string, string>> = {
  secure_context: "Secure context",
  signaling_websocket: "Signaling by WebSocket",
  signaling_longpoll: "Signaling by long-poll",
  turn: "TURN servers",
  candidates: "Own addresses",
  nat: "NAT",
  call: "Call and data channel",
  relay_call: "Call through TURN only",
  throughput: "Throughput",
  quality: "Loss, delay, jitter",
  camera: "Camera",
  microphone: "Microphone",
};

/** What people are shown for a check. */
export function labelOf(check: string): string {
  return LABELS[check] ?? check.replace(/^ice_server /, "");
}

function finding(check: string, status: Status, summary: string, remedy = ""): Finding {
  return { check, label: labelOf(check), status, summary, ...(remedy ? { remedy } : {}) };
}

function tried(check: string, { ms }: Attempt, summary: string): Finding {
  return { ...finding(check, "ok", summary), ...(ms === undefined ? {} : { ms }) };
}

function failed(
  check: string,
  status: Status,
  { code, error = "" }: Attempt,
  summary: string,
  remedy: string,
): Finding {
  const detail = code ? `${code}: ${error}` : error;
  return { ...finding(check, status, summary, remedy), ...(detail ? { detail } : {}) };
}
