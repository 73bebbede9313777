/** Ctrl-C: the first asks the run to stop after its step, the second stops it at once. */

import process from "node:process";

/** What asks a process to end. */
export const signals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/**
 * A signal that the first Ctrl-C (or SIGTERM) sets; a second one ends the process. One Ctrl-C may arrive twice, from the
 * terminal and from `deno task`: what comes within a second of the first is the same one. It is also set when the `npx`
 * that started all this is gone, so that nothing goes on unseen.
 */
export async function interruption(): Promise<{ signal: AbortSignal; stop(): void }> {
  const controller = new AbortController();
  let first = 0;
  const interrupt = () => {
    if (!controller.signal.aborted) {
      first = performance.now();
      console.error("\nStopping after this step; press Ctrl-C again to stop at once");
      controller.abort();
    } else if (performance.now() - first > 1000) {
      Deno.exit(130);
    }
  };
  for (const name of signals) Deno.addSignalListener(name, interrupt);
  const launcher = await npxShell();
  const watch = setInterval(() => {
    if (launcher && !isRunning(launcher) && !controller.signal.aborted) interrupt();
  }, 1000);
  return {
    signal: controller.signal,
    stop: () => {
      clearInterval(watch);
      signals.forEach((name) => Deno.removeSignalListener(name, interrupt));
    },
  };
}

/**
 * The process of the shell between `npx` and `deno task`, which ends on SIGTERM without telling its children; undefined
 * without npx, and where `ps` is not there to ask.
 */
async function npxShell(): Promise<number | undefined> {
  if (Deno.env.get("npm_command") !== "exec") return undefined;
  try {
    const { stdout } = await new Deno.Command("ps", {
      args: ["-o", "ppid=", "-p", String(Deno.ppid)],
      stderr: "null",
    })
      .output();
    return Number(new TextDecoder().decode(stdout)) || undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Hands SIGINT and SIGTERM on to a child process, so that nothing is left running; returns what ends it. */
export function forwardSignals(child: Deno.ChildProcess): () => void {
  const listeners = signals.map((name) => {
    const listener = () => child.kill(name);
    Deno.addSignalListener(name, listener);
    return () => Deno.removeSignalListener(name, listener);
  });
  return () => listeners.forEach((remove) => remove());
}
