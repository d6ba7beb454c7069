/**
 * Derives the keys of a link's password while one still types a name, so that joining need not wait for them.
 *
 * Owns that head start. The SDK remembers what was derived; a failure comes up again when one joins.
 */

import { rootSecret } from "../../sdk/crypto/keys";

export function deriveEarly({ channel, password }: { channel: string; password: string }): void {
  if (channel && password) rootSecret(channel, password).catch(() => undefined);
}
