import { assert } from "@std/assert";
import { yieldToEventLoop } from "./event_loop.ts";

Deno.test("yieldToEventLoop() lets timers and reads finish beside work that never waits", async () => {
  const done = { timer: false, read: false };
  setTimeout(() => done.timer = true, 1);
  const read = Deno.readTextFile(new URL(import.meta.url)).then(() => done.read = true);
  const began = performance.now();
  while (!(done.timer && done.read)) {
    assert(performance.now() - began < 60_000, `neither may starve: ${JSON.stringify(done)}`);
    await Promise.resolve();
    await yieldToEventLoop();
  }
  await read;
});
