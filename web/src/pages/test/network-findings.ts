/**
 * What is said of STUN and TURN servers, own addresses, the NAT, and calls to the media worker.
 *
 * Owns these sentences. Never tries anything.
 */

import type { CallAttempt, Facts, ServerAttempt } from "./facts";
import { type Finding, failed, finding, tried } from "./finding";
import { isLost, isRefused, isTurn, isUdp, isUdpBlocked, KEY_CODES, worked } from "./signs";

/** How an error begins that the certificate is the reason of. */
const TLS_ERROR = "TLS: ";
const QUOTA_CODES = new Set(["486", "508"]);
const UDP_REMEDY =
  "Use another network, or have its firewall let UDP out. The operator: offer TURN by TLS on port 443, see turn-config/README.md.";
const WORKER_REMEDY =
  "Open the worker's UDP port (7900) in the firewall, and name the address by which the world reaches it: `--advertise HOST`.";
const CERTIFICATE_REMEDY =
  "Give coturn a certificate for its own name that is trusted and has not ended: --turn-cert and --turn-key.";

/** The lines on the network beyond signaling. */
export function networkFindings(facts: Facts): Finding[] {
  const found: Finding[] = [];
  if (facts.servers) found.push(...ofServers(facts, facts.servers));
  if (facts.candidates) found.push(ofCandidates(facts));
  if (facts.nat) found.push(ofNat(facts));
  if (facts.call) found.push(ofCall(facts, facts.call));
  if (facts.relay_call) found.push(ofRelayCall(facts, facts.relay_call));
  return found;
}

/** What is wrong with the TURN servers together, where calls work without them. */
export function headlinesOfTurn({ servers = [] }: Facts): string[] {
  const turn = servers.filter(isTurn);
  if (turn.length > 0 && !turn.some(worked)) {
    const isFull = turn.every(({ code = "" }) => QUOTA_CODES.has(code));
    return [isFull ? "The TURN server has no room left." : "The TURN server does not answer."];
  }
  return turn.every(worked) ? [] : ["The TURN server does not answer by every way."];
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
  return [...found, ...servers.map((server) => ofServer(facts, server))];
}

function ofServer(facts: Facts, server: ServerAttempt): Finding {
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
  if (isUdpBlocked(facts) && isUdp(server)) {
    return failed(check, "warn", server, "No answer: UDP does not get through.", UDP_REMEDY);
  }
  const isRelayed = (facts.servers ?? []).some((one) => worked(one) && isTurn(one));
  const status = isRelayed || !isTurn(server) ? "warn" : "fail";
  return failed(check, status, server, ...serverTrouble(facts, server));
}

/** What one means that neither refuses a credential nor suffers from a firewall, and what to do. */
function serverTrouble({ servers = [] }: Facts, { url, code, error }: ServerAttempt): [string, string] {
  if (QUOTA_CODES.has(code ?? "")) {
    return [
      "It has no room left for this client.",
      "Wait until others have ended, or raise user-quota and total-quota in coturn's configuration.",
    ];
  }
  if (error?.startsWith(TLS_ERROR)) return ["Its certificate is not taken.", CERTIFICATE_REMEDY];
  const isTcpFine = servers.some((one) => worked(one) && one.url.endsWith("transport=tcp"));
  if (url.startsWith("turns:") && isTcpFine) {
    // Browsers do not say of TLS what failed.
    return [
      "By TLS it does not answer, or its certificate is not taken.",
      `Check that its TLS port is open, and that clients are told a name, not an address. ${CERTIFICATE_REMEDY}`,
    ];
  }
  return [
    "It does not answer.",
    "Check that coturn runs and that its ports are open: 3478 for UDP and TCP, its TLS port, and its relay ports.",
  ];
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
    "See that this machine has a network. In a browser, an extension or a policy may forbid WebRTC its addresses: switch it off for this site.",
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
