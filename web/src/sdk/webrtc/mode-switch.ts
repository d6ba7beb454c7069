/**
 * A switch of the mode that this member asks for.
 *
 * Owns its outcome: settled when the mode holds for all, was refused or rolled back; and asking again where the mode had
 * just become another. Never builds a path (`peer-group`).
 */

import type { Platform } from "../agent/platform";
import { ProtocolError } from "../protocol/errors";
import type { ProposalEndedSignal } from "../protocol/groups.gen";
import type { GroupFollower, Mode, WantedMode } from "./group-follower";
import type { GroupSpeech } from "./group-speech";

/** The word of what holds is on its way, when what was said was late. */
const STALE_MS = 50;
const STALE_TRIES = 3;

interface Wanted {
  readonly mode: WantedMode;
  readonly done: () => void;
  readonly failed: (error: ProtocolError) => void;
}

/** One at a time. */
export class ModeSwitch {
  private readonly speech: GroupSpeech;
  private readonly follower: GroupFollower;
  private readonly platform: Platform;
  private wanted: Wanted | undefined;

  constructor(speech: GroupSpeech, follower: GroupFollower, platform: Platform) {
    this.speech = speech;
    this.follower = follower;
    this.platform = platform;
  }

  /** Asks for a mode, in the place of any that was asked for before. */
  begin(mode: WantedMode, done: () => void, failed: (error: ProtocolError) => void): void {
    this.wanted?.failed(new ProtocolError("closed", "Another mode was asked for meanwhile."));
    this.wanted = { mode, done, failed };
    void this.propose(this.wanted, STALE_TRIES);
  }

  /** A mode holds for all. */
  holds(mode: Mode): void {
    if (this.wanted?.mode === mode) this.settle();
  }

  /** A proposal came to nothing; `why` is not known where the word of it was lost. */
  rolledBack(why: ProposalEndedSignal | undefined): void {
    if (why && this.wanted?.mode !== why.mode) return;
    const { code = "timeout", reason = "The proposal came to nothing.", by = "" } = why ?? {};
    this.settle(new ProtocolError(code, reason, { details: { by } }));
  }

  /** The group is over. */
  end(error: ProtocolError): void {
    this.settle(error);
  }

  private async propose(wanted: Wanted, tries: number): Promise<void> {
    const { state } = this.follower;
    try {
      await this.speech.ask({ kind: "propose", mode: wanted.mode, term: state?.term ?? 0 });
    } catch (error) {
      if (this.wanted !== wanted) return;
      const problem = error as ProtocolError;
      if (problem.code !== "stale_term" || tries === 1) this.settle(problem);
      else this.platform.startTimer(STALE_MS, () => void this.propose(wanted, tries - 1));
      return;
    }
    const needsNone = wanted.mode === "auto" || wanted.mode === this.follower.state?.mode;
    if (needsNone && this.wanted === wanted) this.settle();
  }

  private settle(error?: ProtocolError): void {
    const { wanted } = this;
    this.wanted = undefined;
    if (error) wanted?.failed(error);
    else wanted?.done();
  }
}
