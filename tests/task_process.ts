/** Runs `deno task NAME` as people do, for tests of whole runs. */

const root = decodeURIComponent(new URL("../", import.meta.url).pathname);

/** How a task ended. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Starts a task. */
export function startTask(name: string, ...args: string[]) {
  return startDeno("task", name, ...args);
}

/** Starts Deno. */
export function startDeno(...args: string[]) {
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return { child, ...processEnd(child) };
}

/** Reads a process to its end; `seen` resolves with true when its output holds `text`, with false when it ends without. */
export function processEnd(child: Deno.ChildProcess) {
  const written = { stdout: "", stderr: "" };
  const waiting: { text: string; resolve: (seen: boolean) => void }[] = [];
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, key: "stdout" | "stderr") => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      written[key] += chunk;
      for (const { text, resolve } of waiting) if (written[key].includes(text)) resolve(true);
    }
  };
  const ended = (async (): Promise<Ended> => {
    const [{ code }] = await Promise.all([
      child.status,
      read(child.stdout, "stdout"),
      read(child.stderr, "stderr"),
    ]);
    for (const { resolve } of waiting) resolve(false);
    return { code, ...written };
  })();
  const seen = (text: string) =>
    new Promise<boolean>((resolve) => {
      if (written.stdout.includes(text) || written.stderr.includes(text)) resolve(true);
      else waiting.push({ text, resolve });
    });
  return { ended, seen, output: () => written };
}

/** Runs a task to its end. */
export function runTask(name: string, ...args: string[]): Promise<Ended> {
  return startTask(name, ...args).ended;
}
