/** Whether others use the machine: torch's threads wait for each other, and one busy core makes it many times slower. @module */

/** Above this many busy cores a figure is not to be trusted. */
export const busyCores = 0.2;

/**
 * Waits until nobody computes, at most `seconds`, and returns how many cores were still busy, 0 where the system does not
 * tell. To be called while no process of the bench computes.
 */
export async function waitForQuiet(seconds: number): Promise<number> {
  for (const started = performance.now();;) {
    const before = await coreTimes();
    await new Promise((resolve) => setTimeout(resolve, 150));
    const after = await coreTimes();
    if (!before || !after) return 0;
    const busy = (after.busy - before.busy) / Math.max(1, after.all - before.all) *
      navigator.hardwareConcurrency;
    if (busy < busyCores || performance.now() - started > 1000 * seconds) return busy;
  }
}

/** Ticks that all cores together have worked, and all that there were, since the machine started. */
async function coreTimes(): Promise<{ busy: number; all: number } | undefined> {
  if (Deno.build.os !== "linux") return undefined;
  const { stdout } = await new Deno.Command("cat", { args: ["/proc/stat"], stderr: "null" }).output();
  const line = new TextDecoder().decode(stdout).split("\n")[0]!;
  // user nice system idle iowait irq softirq steal
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number);
  if (ticks.length < 5) return undefined;
  const all = ticks.reduce((sum, n) => sum + n, 0);
  return { all, busy: all - ticks[3]! - ticks[4]! };
}
