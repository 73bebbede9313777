/** `deno task report`: writes report.html and the model card of a run anew, finished or not. */
import { InputError } from "../lib/base/input_error.ts";
import { writeReport } from "../lib/report/report.ts";
import { runPaths, runState } from "../lib/run/run_folder.ts";
import { commonFlags, runTask } from "./command_line.ts";

await runTask("report", "Writes report.html of a run folder.", { out: commonFlags.out }, async (given) => {
  const folder = given.out ?? "runs/demo";
  if (await runState(folder) === "new") {
    throw new InputError(`Cannot report on ${folder}: it holds no run; name a run folder with --out`);
  }
  await writeReport(folder);
  console.log(runPaths(folder).report);
  return 0;
});
