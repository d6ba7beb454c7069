/**
 * Fetches a short-lived key of the server's demo project, for pages that the server itself serves.
 *
 * Owns the request and its failures. Never keeps a key.
 */

import { ProtocolError } from "../protocol/errors";
import { isObject } from "../protocol/shape";
import { demoKeyAddress } from "./address";
import { problemOf } from "./problem";
import { errorOf } from "./records";

/** The key; throws `ProtocolError` with the reason. */
export async function fetchDemoKey(base: string): Promise<string> {
  let response: Response;
  try {
    response = await fetch(demoKeyAddress(base), { method: "POST", credentials: "omit", cache: "no-store" });
  } catch {
    throw new ProtocolError("connect_failed");
  }
  if (!response.ok) throw await refusal(response);
  const document: unknown = await response.json().catch(() => undefined);
  const key = isObject(document) ? document["api_key"] : undefined;
  if (typeof key !== "string") throw noKey(response);
  return key;
}

async function refusal(response: Response): Promise<ProtocolError> {
  const problem = await problemOf(response);
  if (!problem) return noKey(response);
  if (problem.code !== "not_found") return errorOf(problem);
  const message = "This server has no demo project: connect with an apiKey, or start it with --demo.";
  return errorOf({ ...problem, message });
}

function noKey(response: Response): ProtocolError {
  return new ProtocolError("connect_failed", `The server gave no demo key (HTTP ${response.status}).`);
}
