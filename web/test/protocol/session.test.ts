/** Plays `tests/vectors/sessions` with the client's session machine; the format stands in the README there. */
import { describe, expect, test } from "vitest";
import { Codec, Rejected } from "../../src/sdk/protocol/codec";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import type {
  AnyFrame,
  ConnectFrame,
  ErrorFrame,
  SendFrame,
  ServerFrame,
} from "../../src/sdk/protocol/frames.gen";
import { ClientSession } from "../../src/sdk/protocol/session/client";
import { type ClientSettings, clientSettings } from "../../src/sdk/protocol/session/settings";
import { CLIENT_FRAMES, SERVER_FRAMES } from "../../src/sdk/protocol/shapes.gen";
import { vector, vectorNames } from "../vectors";

type Json = Record<string, unknown>;

interface Step {
  readonly at: number;
  readonly receive?: Json;
  readonly do?: string;
  readonly frame?: Json;
  readonly size_bytes?: number;
  readonly timeout_ms?: number | null;
  readonly close_code?: number;
  readonly reason?: string;
  readonly code?: string;
  readonly message?: string;
  readonly api_key?: string;
  readonly error?: Json;
  readonly returns?: number | boolean;
  readonly raises?: string;
  readonly send?: Json[];
  readonly actions?: Json[];
  readonly events?: Json[];
  readonly deadline?: number;
}

interface Transcript {
  readonly about: string;
  readonly connect: Json;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly jitter?: readonly number[];
  readonly steps: readonly Step[];
}

const codec = new Codec<AnyFrame>("json", { ...CLIENT_FRAMES, ...SERVER_FRAMES }, 1_048_576);

function read<F extends AnyFrame>(json: Json): F {
  const frame = codec.readFrame(json);
  if (frame instanceof Rejected) throw frame.error;
  return frame as F;
}

function written(frame: AnyFrame): Json {
  return JSON.parse(codec.encode(frame) as string) as Json;
}

const DEFAULTS: Readonly<Record<string, Json>> = {
  state: { code: "", why: "", retry_in_ms: 0, transport: null, correlation_id: "", details: {} },
  joined: { is_first: false, recovered: false, live_recovered: false },
  gap: { durable: false, live: false },
};
const FRAME_FIELDS = ["message", "presence", "reply", "error"];

/** An action or event as the transcripts write it: frames in their JSON form, defaults left out. */
function noted(output: object): Json {
  const entries = Object.entries(output).map(([name, value]: [string, unknown]) =>
    FRAME_FIELDS.includes(name) ? [name, written(value as AnyFrame)] : [name, value],
  );
  const defaults = DEFAULTS[(output as { event?: string }).event ?? ""] ?? {};
  return Object.fromEntries(
    entries.filter(([name, value]) => JSON.stringify(defaults[name as string]) !== JSON.stringify(value)),
  ) as Json;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function settingsOf(transcript: Transcript): ClientSettings {
  const given = Object.entries(transcript.settings ?? {}).map(([name, value]) => [camelCase(name), value]);
  return clientSettings({
    ...(Object.fromEntries(given) as Partial<ClientSettings>),
    connect: read<ConnectFrame>({ op: "connect", ...transcript.connect }),
  });
}

function perform(session: ClientSession, step: Step): unknown {
  const { at } = step;
  if (step.receive) return session.receive(read<ServerFrame>(step.receive), at);
  switch (step.do) {
    case "start":
      return session.start(at);
    case "transport_opened":
      return session.transportOpened(at);
    case "heard":
      return session.heard(at);
    case "reconnect_now":
      return session.reconnectNow(at);
    case "tick":
      return session.tick(at);
    case "close":
      return session.close(at);
    case "request": {
      const timeout = step.timeout_ms === undefined ? {} : { timeoutMs: step.timeout_ms };
      // A request has no id yet; the machine gives it one.
      const frame = read({ id: 1, ...step.frame });
      return session.request(frame as SendFrame, at, { sizeBytes: step.size_bytes ?? 0, ...timeout });
    }
    case "send_lossy":
      return session.sendLossy(read<SendFrame>(step.frame ?? {}), at);
    case "transport_lost":
      return session.transportLost(step.close_code, step.reason ?? "", at);
    case "unreadable":
      return session.unreadable(new ProtocolError(step.code ?? "", step.message), at);
    case "renew":
      return session.renew(step.api_key ?? "", at);
    case "renew_failed":
      return session.renewFailed(read<ErrorFrame>({ op: "error", ...step.error }), at);
    default:
      throw new Error(`The format knows no "${step.do}".`);
  }
}

function play(session: ClientSession, step: Step): Json {
  let result: Json = {};
  try {
    const returns = perform(session, step);
    if (returns !== undefined) result = { returns };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    result = { raises: error.code };
  }
  return {
    ...result,
    send: session.framesToSend().map(written),
    actions: session.actionsToDo().map(noted),
    events: session.events().map(noted),
    deadline: session.deadline(),
  };
}

function expected(step: Step): Json {
  return {
    ...(step.returns === undefined ? {} : { returns: step.returns }),
    ...(step.raises === undefined ? {} : { raises: step.raises }),
    send: step.send ?? [],
    actions: step.actions ?? [],
    events: step.events ?? [],
    deadline: step.deadline,
  };
}

describe("session transcripts", () => {
  for (const name of vectorNames("sessions")) {
    const transcript = vector<Transcript>(`sessions/${name}`);
    test(`${name}: ${transcript.about}`, () => {
      const drawn = [...(transcript.jitter ?? [])];
      const session = new ClientSession(settingsOf(transcript), () => {
        const jitter = drawn.shift();
        if (jitter === undefined) throw new Error("More jitter is drawn than the transcript gives.");
        return jitter;
      });
      for (const [index, step] of transcript.steps.entries()) {
        expect(play(session, step), `step ${index} at ${step.at}`).toEqual(expected(step));
      }
    });
  }
});
