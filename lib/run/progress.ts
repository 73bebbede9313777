/** What a run says while it goes on: a bar with the time left on a terminal, plain lines when piped. @module */

/** One thing that happened in a run. */
export type ProgressEvent =
  | {
    kind: "step";
    /** The stage's name, or what is done beside the stages: `evaluate sft`. */
    stage: string;
    done: number;
    total: number;
    /** A training step's metrics; those of `shownFigures` are shown. Evaluations have none, and leave no line. */
    figures?: Record<string, number>;
  }
  /** A line that stays: a stage's result, a warning, a checkpoint. */
  | { kind: "note"; text: string };

/** The metrics shown beside the bar, and their short names there. */
const shownFigures: Readonly<Record<string, string>> = {
  loss: "loss",
  reward: "reward",
  "env/searches_mean": "searches",
  "ofsd/kl": "kl",
};

/** How often a step is written when there is no terminal to draw on. */
const secondsBetweenLines = 5;

/** Where progress is shown. */
export interface ProgressOptions {
  /** A terminal shows a bar that is drawn over; everything else gets a line now and then. */
  terminal: boolean;
  /** Columns of the terminal. */
  width?: number;
  write: (text: string) => void;
  /** Milliseconds, for the time left. */
  now?: () => number;
}

/**
 * A function that shows progress events.
 *
 * When piped it writes a line every few seconds, and the last step of every training stage.
 *
 * @example
 * ```ts
 * import { progressPrinter } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * let text = "";
 * const show = progressPrinter({ terminal: false, write: (more) => text += more, now: () => 0 });
 * show({ kind: "step", stage: "grpo-1", done: 10, total: 10, figures: { reward: 0.5 } });
 * assertEquals(text, "grpo-1 10/10 · reward 0.500\n");
 * ```
 */
export function progressPrinter(options: ProgressOptions): (event: ProgressEvent) => void {
  const { terminal, width = 80, write, now = () => performance.now() } = options;
  let stage = "";
  let startedAt = 0;
  let startedDone = 0;
  let barShown = false;
  let linedAt = now();
  const clear = () => {
    if (barShown) write("\r\x1b[K");
    barShown = false;
  };
  return (event) => {
    if (event.kind === "note") {
      clear();
      write(event.text + "\n");
      return;
    }
    const { done, total } = event;
    if (event.stage !== stage) {
      clear();
      [stage, startedAt, startedDone] = [event.stage, now(), done];
    }
    const perStep = (now() - startedAt) / (done - startedDone);
    const left = done > startedDone && done < total
      ? ` · ${duration(perStep * (total - done) / 1000)} left`
      : "";
    const figures = Object.entries(shownFigures).map(([name, short]) => {
      const value = event.figures?.[name];
      return value === undefined ? "" : ` · ${short} ${figure(value)}`;
    }).join("");
    const ended = done >= total;
    if (terminal) {
      const filled = Math.round(20 * Math.min(1, done / total));
      const bar = "█".repeat(filled) + "░".repeat(20 - filled);
      write(`\r\x1b[K${`${stage} ${bar} ${done}/${total}${left}${figures}`.slice(0, width - 1)}`);
      barShown = true;
      if (ended && event.figures) {
        write("\n");
        barShown = false;
      }
    } else if ((ended && event.figures) || now() - linedAt >= secondsBetweenLines * 1000) {
      write(`${stage} ${done}/${total}${left}${figures}\n`);
      linedAt = now();
    }
  };
}

/**
 * Seconds in words: `45 s`, `3 min 20 s`, `2 h 5 min`.
 *
 * @example
 * ```ts
 * import { duration } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([45, 200, 7500].map(duration), ["45 s", "3 min 20 s", "2 h 5 min"]);
 * ```
 */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "n/a";
  return Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(3);
}
