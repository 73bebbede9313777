/** Imports point one way: tasks → report → run → eval → learn → rollout → world → search → model → engine → base. */
import { assert, assertEquals } from "@std/assert";

const stations = ["base", "engine", "model", "search", "world", "rollout", "learn", "eval", "run", "report"];
const root = new URL("../", import.meta.url);

async function sources(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) found.push(...await sources(`${folder}${name}/`));
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) found.push(folder + name);
  }
  return found;
}

/** Where a file of the repository stands on the way: the index of its station; data comes first, tasks and mod.ts last. */
function station(path: string): number {
  const [top, folder] = path.split("/") as [string, string];
  if (top === "data") return 0;
  if (top !== "lib") return stations.length;
  return stations.indexOf(folder);
}

Deno.test("lib/ and tasks/ import downwards only", async () => {
  const files = [...await sources("lib/"), ...await sources("tasks/")].filter((file) =>
    !file.startsWith("lib/std/")
  );
  assert(files.length > 30);
  const upwards: string[] = [];
  for (const file of files) {
    assert(station(file) >= 0, `${file} stands in no known folder`);
    const text = await Deno.readTextFile(new URL(file, root));
    for (const [, specifier] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      const target = new URL(specifier!, new URL(file, root)).pathname.slice(root.pathname.length);
      if (station(target) > station(file)) upwards.push(`${file} imports ${target}`);
    }
  }
  assertEquals(upwards, []);
});

Deno.test("station() orders the folders", () => {
  assert(station("tasks/demo.ts") > station("lib/report/report.ts"));
  assert(station("lib/run/config.ts") > station("lib/eval/evaluate.ts"));
  assert(station("lib/model/policy.ts") > station("lib/base/files.ts"));
});
