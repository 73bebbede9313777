import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { appendMetrics, openMetrics, readMetrics, withoutMeasurements } from "./metrics.ts";

Deno.test("appendMetrics() and readMetrics() keep rows, NaN included", async () => {
  const path = await Deno.makeTempFile();
  const log = await openMetrics(path);
  await appendMetrics(log, { step: 1, stage: "sft", loss: 0.1 + 0.2, kl: NaN });
  await appendMetrics(log, { step: 2, stage: "sft", loss: 1e-30, kl: -Infinity });
  log.close();
  const rows = await readMetrics(path);
  assertEquals(rows[0], { step: 1, stage: "sft", loss: 0.1 + 0.2, kl: NaN });
  assert(Number.isNaN(rows[1]!.kl));
  await Deno.remove(path);
});

Deno.test("openMetrics() cuts back to the length that a checkpoint recorded", async () => {
  const path = await Deno.makeTempFile();
  const log = await openMetrics(path);
  await appendMetrics(log, { step: 1, stage: "sft" });
  const { length } = log;
  await appendMetrics(log, { step: 2, stage: "sft", loss: 5 });
  log.close();
  const again = await openMetrics(path, length);
  await appendMetrics(again, { step: 2, stage: "sft", loss: 7 });
  again.close();
  assertEquals((await readMetrics(path)).map(({ loss }) => loss), [undefined, 7]);
  await assertRejects(() => openMetrics(path, 1000), Error, "the checkpoint was written at 1000");
  await Deno.remove(path);
});

Deno.test("readMetrics() leaves out a last line that was cut off, and names a broken one", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, '{"step":1,"stage":"sft"}\n{"step":2,"st');
  assertEquals((await readMetrics(path)).length, 1);
  await Deno.writeTextFile(path, '{"step":1,"stage":"sft"}\nnonsense\n');
  await assertRejects(() => readMetrics(path), InputError, "line 2");
  await Deno.remove(path);
});

Deno.test("withoutMeasurements() drops times and memory only", () => {
  const row = { step: 1, stage: "sft", loss: 2, step_time: 3, "time/generate": 4, "memory/tensors": 5 };
  assertEquals(withoutMeasurements(row), { step: 1, stage: "sft", loss: 2 });
});
