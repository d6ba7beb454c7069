/**
 * What is said of the server, and of the ways to it: HTTP, WebSocket, long-poll, and whether browsers take it for secure.
 *
 * Owns these sentences. Never tries anything.
 */

import type { Attempt, Facts } from "./facts";
import { type Finding, failed, finding, tried } from "./finding";
import { KEY_CODES, worked } from "./signs";

type Trouble = readonly [summary: string, remedy: string];

const NO_DEMO = "not_found";
const NOT_THERE: Trouble = [
  "The server does not answer.",
  "Check the address, and that the server runs (`peerbus serve`) and no firewall is in between.",
];
const NOT_REACHED = "The signaling server cannot be reached.";
/** By the code of the attempt: what it means, and what to do. */
const SERVER_TROUBLE: Readonly<Record<string, Trouble>> = {
  unknown_host: [
    "There is no machine of this name.",
    "Check the spelling of the address, and the name server that this machine asks.",
  ],
  closed: [
    "Nobody listens there.",
    "Start the server (`peerbus serve`), and compare host and port with what it printed when it started.",
  ],
  certificate: [
    "The certificate of the server is not trusted.",
    "Give the server a certificate that is trusted (--tls-cert, --tls-key). To test without: --insecure.",
  ],
  no_tls: [
    "It does not speak TLS there.",
    "Use http:// in the address, or start the server with --tls self-signed or a certificate.",
  ],
  hung_up: [
    "It ends the connection without an answer.",
    "If the server speaks TLS there, use https:// in the address; else compare host and port.",
  ],
  moved: [
    "It sends visitors to another address.",
    "Use the address that it names, most often the same with https://.",
  ],
  not_peerbus: [
    "Something that is no peerbus server answers there.",
    "Compare host, port and path of the address. A proxy in between has to pass on everything below /v1/.",
  ],
};

/** The lines on the server and the ways to it. */
export function serverFindings(facts: Facts): Finding[] {
  const { is_secure, is_address_secure, server, websocket, longpoll } = facts;
  const found: Finding[] = [];
  if (is_secure !== undefined) found.push(ofPage(is_secure));
  if (is_address_secure !== undefined) found.push(ofAddress(is_address_secure));
  if (server) found.push(ofServer(server));
  if (websocket) found.push(ofWebsocket(websocket, worked(longpoll)));
  if (longpoll) found.push(ofLongpoll(longpoll, worked(websocket)));
  return found;
}

/** Why there is no way to the server at all; `undefined` if there is one. */
export function headlineOfServer({ server, websocket, longpoll }: Facts): string | undefined {
  if (server && !worked(server)) {
    const isNamed = server.code === "certificate" || server.code === "not_peerbus";
    return isNamed ? troubleOf(server)[0] : NOT_REACHED;
  }
  const ways = [websocket, longpoll].flatMap((attempt) => attempt ?? []);
  if (ways.length === 0 || ways.some(worked)) return undefined;
  const refused = ways.find(isAboutKey);
  return refused ? keyTrouble(refused)[0] : NOT_REACHED;
}

function ofPage(isSecure: boolean): Finding {
  if (isSecure) return finding("secure_context", "ok", "The browser takes this page for secure.");
  return finding(
    "secure_context",
    "fail",
    "The browser does not take this page for secure.",
    "Open it by https://, or on the server's own machine by http://localhost. The operator: start with --tls self-signed, or with a certificate.",
  );
}

function ofAddress(isSecure: boolean): Finding {
  if (isSecure) return finding("secure_context", "ok", "Browsers take pages of this address for secure.");
  return finding(
    "secure_context",
    "warn",
    "Browsers do not take pages of this address for secure: no camera, microphone or encryption in them.",
    "Let browsers open it by https://: start with --tls self-signed, or with a certificate.",
  );
}

const troubleOf = ({ code = "" }: Attempt): Trouble => SERVER_TROUBLE[code] ?? NOT_THERE;

function ofServer(attempt: Attempt): Finding {
  if (worked(attempt)) return tried("server", attempt, `It answers, after ${attempt.ms} ms.`);
  return failed("server", "fail", attempt, ...troubleOf(attempt));
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

const isAboutKey = ({ code = "" }: Attempt): boolean => code === NO_DEMO || KEY_CODES.has(code);

function signalingFailed(check: string, attempt: Attempt): Finding {
  return failed(check, "fail", attempt, ...(isAboutKey(attempt) ? keyTrouble(attempt) : NOT_THERE));
}

function keyTrouble({ code }: Attempt): Trouble {
  if (code !== NO_DEMO) {
    return ["The server refuses the key.", "Use a key that is good for this server and this channel."];
  }
  return [
    "The server gives no key to visitors.",
    "Use a key of your project: `PEERBUS_API_KEY` for `peerbus doctor`, the field above on the page /test.",
  ];
}
