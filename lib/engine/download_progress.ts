/**
 * Progress of a download: one line that is rewritten on a terminal, a plain line now and then elsewhere.
 *
 * @module
 */

/** Receives how a download goes on. */
export interface DownloadProgress {
  /** One plain message. */
  say(message: string): void;
  start(what: string): void;
  /** Bytes fetched so far, and in all where that is known. */
  update(fetched: number, total: number | undefined): void;
  end(): void;
}

/** Shows progress on standard error; with `quiet`, shows nothing. */
export function downloadProgress(
  { quiet = false, terminal = Deno.stderr.isTerminal(), write = writeError, now = () => performance.now() }: {
    quiet?: boolean;
    terminal?: boolean;
    write?: (text: string) => void;
    now?: () => number;
  } = {},
): DownloadProgress {
  const show = quiet ? () => {} : write;
  let what = "";
  let started = 0;
  let lastPlain = 0;
  return {
    say: (message) => show(`${message}\n`),
    start(name) {
      what = name;
      started = lastPlain = now();
      show(terminal ? `Fetching ${what}` : `Fetching ${what}\n`);
    },
    update(fetched, total) {
      const line = progressLine(what, fetched, total, (now() - started) / 1000);
      if (terminal) return show(`\r\x1b[K${line}`);
      if (now() - lastPlain < 10_000) return;
      lastPlain = now();
      show(`${line}\n`);
    },
    end() {
      const seconds = plainSeconds((now() - started) / 1000);
      show(`${terminal ? "\r\x1b[K" : ""}Fetched ${what} in ${seconds}\n`);
    },
  };
}

/** One line: what, megabytes, and how long it will take at the pace so far. */
export function progressLine(
  what: string,
  fetched: number,
  total: number | undefined,
  seconds: number,
): string {
  const megabytes = (bytes: number) => Math.round(bytes / 1e6);
  if (total === undefined || fetched === 0) return `Fetching ${what}: ${megabytes(fetched)} MB`;
  const left = Math.max(0, total - fetched) / fetched * seconds;
  return `Fetching ${what}: ${megabytes(fetched)} of ${megabytes(total)} MB, ${plainSeconds(left)} left`;
}

/** A time in seconds, or in minutes and seconds. */
export function plainSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function writeError(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}
