/**
 * Which STUN and TURN servers answer, what addresses the browser finds, and how the network maps them.
 *
 * Owns the peer connections that only gather. Never decides what a failure means (`judgement`).
 */

import type { Candidates, Nat, ServerAttempt } from "./facts";

const GATHER_MS = 3_000;

/** One address of a STUN or TURN server. */
export async function tryServer(
  url: string,
  server: RTCIceServer,
  timeoutMs: number,
): Promise<ServerAttempt> {
  const isTurn = url.startsWith("turn");
  const began = performance.now();
  const elapsed = (): number => Math.round(performance.now() - began);
  const connection = gathering([{ ...server, urls: [url] }], isTurn ? "relay" : "all");
  try {
    return await new Promise<ServerAttempt>((done) => {
      let failure: ServerAttempt | undefined;
      const end = (otherwise: string): void => done(failure ?? { url, error: otherwise });
      setTimeout(() => end(`No answer within ${timeoutMs / 1000} s.`), timeoutMs);
      connection.onicecandidateerror = ({ errorCode, errorText }) => {
        // Of several own addresses one may fail while another works.
        failure ??= { url, error: errorText || `error ${errorCode}`, code: String(errorCode) };
      };
      connection.onicecandidate = ({ candidate }) => {
        if (candidate?.type === (isTurn ? "relay" : "srflx")) done({ url, ms: elapsed() });
      };
      connection.onicegatheringstatechange = () => {
        if (connection.iceGatheringState !== "complete") return;
        // A STUN server that sees the own address itself answers, and is told of by no candidate.
        if (!isTurn && !failure) done({ url, ms: elapsed() });
        else end("The browser did not use it, and does not say why.");
      };
    });
  } finally {
    connection.close();
  }
}

/** All own addresses, and what the NAT makes of them; `answering` is how many STUN servers do. */
export async function tryGathering(
  servers: readonly RTCIceServer[],
  answering: number,
): Promise<{ readonly candidates: Candidates; readonly nat: Nat }> {
  const connection = gathering([...servers], "all");
  const found: RTCIceCandidate[] = [];
  await new Promise<void>((done) => {
    setTimeout(done, GATHER_MS);
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) found.push(candidate);
      else done();
    };
  });
  connection.close();
  const udp = found.filter(({ protocol }) => protocol === "udp");
  const count = (test: (candidate: RTCIceCandidate) => boolean): number => udp.filter(test).length;
  const isHidden = ({ address }: RTCIceCandidate): boolean => address?.endsWith(".local") ?? false;
  const candidates = {
    host: count((one) => one.type === "host" && !isHidden(one)),
    mdns: count((one) => one.type === "host" && isHidden(one)),
    srflx: count(({ type }) => type === "srflx"),
    relay: count(({ type }) => type === "relay"),
    ipv6: count((one) => one.address?.includes(":") ?? false),
  };
  const mappings = mappingsOf(udp.filter(({ type }) => type === "srflx"));
  const isDirect = answering > 0 && mappings.length === 0 && candidates.host > 0;
  return { candidates, nat: { servers: answering, mappings, ...(isDirect ? { is_direct: true } : {}) } };
}

/** What became of the one own port that has most mappings; where ports are hidden, one mapping is all one can tell. */
function mappingsOf(reflexive: readonly RTCIceCandidate[]): string[] {
  const byBase = new Map<string, Set<string>>();
  for (const { relatedAddress, relatedPort, address, port } of reflexive) {
    const base = relatedPort ? `${relatedAddress}:${relatedPort}` : `${address}:${port}`;
    byBase.set(base, (byBase.get(base) ?? new Set()).add(`${address}:${port}`));
  }
  const [most = new Set<string>()] = [...byBase.values()].sort((a, b) => b.size - a.size);
  return [...most];
}

function gathering(iceServers: RTCIceServer[], iceTransportPolicy: RTCIceTransportPolicy): RTCPeerConnection {
  const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy });
  connection.createDataChannel("test");
  connection
    .createOffer()
    .then((offer) => connection.setLocalDescription(offer))
    .catch(() => connection.close());
  return connection;
}
