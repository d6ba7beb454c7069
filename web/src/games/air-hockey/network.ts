/**
 * The part of the settings about the simulated network.
 *
 * Owns its fields, and what they come to. Never simulates anything: that is an option of the helper.
 */

import { byId } from "../../pages/elements/element";
import type { Simulation } from "../../sdk/webrtc/network-simulator";

/** As it stands in the fields: both ways together in milliseconds, each way in milliseconds, each way in percent. */
export interface NetworkChoice {
  readonly delay: number;
  readonly jitter: number;
  readonly loss: number;
}

const OWN = "own";
const PRESETS: Readonly<Record<string, { readonly words: string; readonly choice: NetworkChoice }>> = {
  none: { words: "as it is", choice: { delay: 0, jitter: 0, loss: 0 } },
  good: { words: "good", choice: { delay: 30, jitter: 5, loss: 0 } },
  mobile: { words: "mobile", choice: { delay: 60, jitter: 20, loss: 1 } },
  bad: { words: "bad", choice: { delay: 100, jitter: 40, loss: 5 } },
  terrible: { words: "hardly there", choice: { delay: 250, jitter: 80, loss: 15 } },
};
const UNITS: Readonly<Record<keyof NetworkChoice, string>> = { delay: "ms", jitter: "ms", loss: "%" };

/** For the helper. */
export function simulationOf({ delay, jitter, loss }: NetworkChoice): Simulation {
  return { delayMs: delay / 2, jitterMs: jitter, loss: loss / 100 };
}

/** For the corner of the table; empty if nothing is simulated. */
export function networkWords({ delay, jitter, loss }: NetworkChoice): string {
  const parts = [
    delay > 0 ? `${delay} ms` : "",
    jitter > 0 ? `up to ${jitter} ms jitter` : "",
    loss > 0 ? `${loss} % lost` : "",
  ].filter((part) => part !== "");
  return parts.length > 0 ? `simulated: ${parts.join(", ")}` : "";
}

/** The fields. They stay as they are while the page is open. */
export class NetworkMenu {
  private readonly preset = byId("network", HTMLSelectElement);

  constructor(changed: () => void) {
    for (const [value, { words }] of Object.entries(PRESETS)) this.preset.add(new Option(words, value));
    this.preset.add(new Option("my own", OWN));
    this.preset.onchange = () => {
      const preset = PRESETS[this.preset.value];
      if (preset)
        for (const [name, value] of Object.entries(preset.choice)) field(name).value = String(value);
      this.tell();
      changed();
    };
    for (const name of Object.keys(UNITS)) {
      field(name).oninput = () => {
        this.preset.value = OWN;
        this.tell();
        changed();
      };
    }
    this.tell();
  }

  get choice(): NetworkChoice {
    const [delay = 0, jitter = 0, loss = 0] = Object.keys(UNITS).map((name) => field(name).valueAsNumber);
    return { delay, jitter, loss };
  }

  private tell(): void {
    for (const [name, unit] of Object.entries(UNITS)) {
      byId(`network-${name}-value`, HTMLOutputElement).textContent = `${field(name).value} ${unit}`;
    }
  }
}

function field(name: string): HTMLInputElement {
  return byId(`network-${name}`, HTMLInputElement);
}
