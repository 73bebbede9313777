/** `deno task docs`: writes docs/config.md from the config's schema. */
import { configReference } from "../lib/report/config_reference.ts";
import { runTask } from "./command_line.ts";
import { writeDocument } from "./write_document.ts";

await runTask("docs", "Writes docs/config.md from the schema of the settings.", {}, async () => {
  await writeDocument("docs/config.md", configReference());
  return 0;
});
