/**
 * What went wrong, as an error frame: made here, or by the server in one of its forms.
 *
 * Owns the readings of `error`, `closing` and close codes. Never decides what happens next.
 */

import { codeOfClose, errorInfo, isErrorCode, mayReconnect } from "../errors";
import type { ClosingFrame, ErrorFrame } from "../frames.gen";
import type { State } from "./outputs";

/** The state that an error leads to. */
export function stateOf(error: ErrorFrame, name: "reconnecting" | "closed", retryInMs = 0): State {
  return {
    event: "state",
    name,
    code: error.code,
    why: error.message,
    retry_in_ms: retryInMs,
    transport: null,
    correlation_id: error.correlation_id,
    details: error.details,
  };
}

/** An error of this side; without a message it says what the code means. */
export function failure(code: string, message = ""): ErrorFrame {
  const info = errorInfo(code);
  return {
    op: "error",
    code,
    message: message || info.meaning,
    is_retryable: info.isRetryable,
    correlation_id: "",
    details: {},
  };
}

/** What the server's last frame says. */
export function failureOfClosing(frame: ClosingFrame): ErrorFrame {
  return {
    op: "error",
    code: frame.code,
    message: frame.reason,
    is_retryable: frame.is_retryable,
    ...(frame.retry_after_ms === undefined ? {} : { retry_after_ms: frame.retry_after_ms }),
    correlation_id: frame.correlation_id,
    details: {},
  };
}

/** What the end of a transport says; without a close code it just ended. */
export function failureOfClose(closeCode: number | undefined, reason: string, wasOpen: boolean): ErrorFrame {
  const code = closeCode === undefined ? undefined : codeOfClose(closeCode);
  return failure(code ?? "connect_failed", reason || (wasOpen ? "The connection was lost." : ""));
}

/** Whether connecting again is right; codes of a newer server count by their flag. */
export function mayRetry(error: ErrorFrame): boolean {
  return isErrorCode(error.code) ? mayReconnect(errorInfo(error.code).closeCode) : error.is_retryable;
}
