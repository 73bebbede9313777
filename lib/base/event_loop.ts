import { setImmediate } from "node:timers";

/**
 * Lets timers, signals and finished reads and writes have their turn, within two calls. Work that awaits only what is there
 * already never does, and `setTimeout` would wait two milliseconds.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
