/**
 * What an HTTP response says went wrong (problem documents, RFC 9457).
 *
 * Owns the reading of a response that is no success. Never sends a request.
 */

import type { ErrorFrame } from "../protocol/frames.gen";
import { failure } from "../protocol/session/failures";
import { isObject } from "../protocol/shape";

/** The refusal of the server as an error frame; `undefined` if something else answered in its place. */
export async function problemOf(response: Response): Promise<ErrorFrame | undefined> {
  let document: unknown;
  try {
    document = await response.json();
  } catch {
    return undefined;
  }
  if (!isObject(document) || typeof document["code"] !== "string") return undefined;
  const { code, detail, title, is_retryable, retry_after_ms, correlation_id, details } = document;
  const message = [detail, title].find((text) => typeof text === "string" && text !== "");
  return {
    ...failure(String(code), message as string | undefined),
    ...(typeof is_retryable === "boolean" ? { is_retryable } : {}),
    ...(typeof retry_after_ms === "number" ? { retry_after_ms } : {}),
    correlation_id: typeof correlation_id === "string" ? correlation_id : "",
    details: isObject(details) ? details : {},
  };
}
