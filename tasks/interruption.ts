/** Ctrl-C: the first asks the run to stop after its step, the second stops it at once. */

const signals: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];

/**
 * A signal that the first Ctrl-C (or SIGTERM) sets; a second one ends the process. One Ctrl-C may arrive twice, from the
 * terminal and from `deno task`: what comes within a second of the first is the same one.
 */
export function interruption(): { signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  let first = 0;
  const listener = () => {
    if (!controller.signal.aborted) {
      first = performance.now();
      console.error("\nStopping after this step; press Ctrl-C again to stop at once");
      controller.abort();
    } else if (performance.now() - first > 1000) {
      Deno.exit(130);
    }
  };
  for (const name of signals) Deno.addSignalListener(name, listener);
  return {
    signal: controller.signal,
    stop: () => signals.forEach((name) => Deno.removeSignalListener(name, listener)),
  };
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
