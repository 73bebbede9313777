/** The event file is read by the real `tensorboard` package. SEARCH_E1_PYTHON names a Python that has it. */
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { appendEvents, openEvents } from "../lib/run/tensorboard.ts";
import { pythonWith } from "./python.ts";

const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0}).Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
`;

const python = await pythonWith("tensorboard");

Deno.test({
  name: "appendEvents() writes what the tensorboard package reads, also after being cut back",
  ignore: !python,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/events.out.tfevents.search-e1`;
    const log = await openEvents(path);
    await appendEvents(log, { step: 1, stage: "sft", loss: 2.5, "env/searches_mean": 3 });
    const { length } = log;
    await appendEvents(log, { step: 2, stage: "sft", loss: 99 });
    log.close();
    const again = await openEvents(path, length);
    await appendEvents(again, { step: 2, stage: "grpo-1", loss: -1e-3 });
    await appendEvents(again, { step: 300, stage: "grpo-1", loss: NaN, "dürftig/Ω": 4 });
    again.close();
    const { stdout, success, stderr } = await new Deno.Command(python!, { args: ["-c", script, folder] })
      .output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    const scalars = JSON.parse(new TextDecoder().decode(stdout).replaceAll("NaN", "null"));
    assertEquals(scalars.loss.map(([step]: [number]) => step), [1, 2, 300]);
    assertEquals(scalars.loss[0][1], 2.5);
    assertAlmostEquals(scalars.loss[1][1], -1e-3, 1e-9);
    assertEquals(scalars.loss[2][1], null);
    assertEquals(scalars["env/searches_mean"], [[1, 3]]);
    assertEquals(scalars["dürftig/Ω"], [[300, 4]]);
    await Deno.remove(folder, { recursive: true });
  },
});
