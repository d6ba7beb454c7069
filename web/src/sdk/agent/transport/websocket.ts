/**
 * The session over a WebSocket (RFC 6455).
 *
 * Owns one socket. Never decides what a frame means or whether to connect again.
 */

import { clientCodec, SUBPROTOCOLS } from "../../protocol/codec";
import type { ClientFrame } from "../../protocol/frames.gen";
import type { Encoding } from "../../protocol/shape";
import { webSocketAddress } from "../address";
import { packets } from "./packets";
import {
  MAX_RECEIVED_BYTES,
  type Transport,
  type TransportListener,
  type TransportSettings,
} from "./transport";

// A page that is being left has its sockets closed, and in Firefox lives long enough to hear of it. That is not the
// server's word, and by the end of this time the page is gone.
const LEAVING_MS = 150;
// What a browser reports when it was told nothing.
const NO_STATUS = [1005, 1006];

export function openWebSocket({ base, encoding }: TransportSettings, listener: TransportListener): Transport {
  let socket: WebSocket;
  try {
    socket = new WebSocket(webSocketAddress(base), SUBPROTOCOLS[encoding]);
  } catch (error) {
    // An https page, for one, may not open an unencrypted socket.
    queueMicrotask(() => listener.lost(undefined, (error as Error).message));
    return { send: () => undefined, close: () => undefined };
  }
  socket.binaryType = "arraybuffer";
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  let codec = clientCodec(encoding, MAX_RECEIVED_BYTES);
  socket.onopen = () => {
    codec = clientCodec(chosenEncoding(socket.protocol), MAX_RECEIVED_BYTES);
    listener.opened();
  };
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    listener.received(codec.decode(typeof data === "string" ? data : new Uint8Array(data)));
  };
  socket.onclose = ({ code, reason, wasClean }) => {
    const tell = (): void => listener.lost(NO_STATUS.includes(code) ? undefined : code, reason);
    if (wasClean) closeTimer = setTimeout(tell, LEAVING_MS);
    else tell();
  };
  return {
    send(frames: readonly ClientFrame[], bounds) {
      for (const packet of packets(codec, frames, bounds)) socket.send(packet);
    },
    close(closeCode, reason) {
      clearTimeout(closeTimer);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(closeCode, reason);
    },
  };
}

/** A server that names no subprotocol speaks JSON. */
function chosenEncoding(protocol: string): Encoding {
  return protocol === SUBPROTOCOLS.msgpack ? "msgpack" : "json";
}
