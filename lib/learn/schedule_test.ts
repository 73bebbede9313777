import { assertEquals } from "@std/assert";
import { learningRate } from "./schedule.ts";

Deno.test("learningRate() warms up by steps, or by a share rounded up", () => {
  const rates = (options: object) =>
    [0, 1, 2, 3, 9].map((step) => learningRate(step, { lr: 6, totalSteps: 10, ...options }));
  assertEquals(rates({}), [6, 6, 6, 6, 6]);
  assertEquals(rates({ warmupSteps: 3 }), [0, 2, 4, 6, 6]);
  assertEquals(rates({ warmupRatio: 0.21 }), [0, 2, 4, 6, 6]);
  assertEquals(rates({ warmupSteps: 0, warmupRatio: 0.5 }), [6, 6, 6, 6, 6]);
});

Deno.test("learningRate() stays at 0 after the last step", () => {
  for (const schedule of ["linear", "cosine"] as const) {
    assertEquals(learningRate(12, { lr: 1, totalSteps: 10, schedule }), 0);
  }
});
