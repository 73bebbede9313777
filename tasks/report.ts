/** `deno task report`: writes report.html and the model card of a run anew, finished or not. */
import { writeReport } from "../lib/report/report.ts";
import { runPaths } from "../lib/run/run_folder.ts";
import { runFolder, runTask } from "./command_line.ts";

const flags = {
  folder: { kind: "words", value: "FOLDER", about: "The run folder; runs/demo" },
  compare: {
    kind: "list",
    value: "FOLDER …",
    about: "Show these runs beside it; the first folder of the line is the run itself",
  },
} as const;

await runTask("report", "Writes report.html of a run folder.", flags, async (given) => {
  const comparing = (given.compare ?? []).length > 0;
  const folder = runFolder("report", comparing ? given.folder.slice(0, 1) : given.folder);
  await writeReport(folder, { compare: comparing ? [...given.compare, ...given.folder.slice(1)] : [] });
  console.log(runPaths(folder).report);
  return 0;
});
