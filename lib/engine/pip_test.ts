import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { findPip, runPip } from "./pip.ts";

const root = Deno.makeTempDirSync();
addEventListener("unload", () => Deno.removeSync(root, { recursive: true }));

/** A program in the place of pip, written in shell. */
async function program(script: string): Promise<string> {
  const path = await Deno.makeTempFile({ dir: root });
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

Deno.test("findPip() takes the first command that runs", async () => {
  const [broken, works] = [await program("exit 1"), await program("exit 0")];
  assertEquals(await findPip([["no-such-program"], [broken], [works, "-m", "pip"], [works]]), [
    works,
    "-m",
    "pip",
  ]);
  assertEquals(await findPip([["no-such-program"], [broken]]), undefined);
});

Deno.test("runPip() reports how the scratch files grow, and the size that pip names", async () => {
  const scratch = await Deno.makeTempDir({ dir: root });
  const pip = await program(
    'echo "  Downloading some.whl (274.0 MB)"; mkdir $TMPDIR/x; head -c 5000 /dev/zero > $TMPDIR/x/some.whl; sleep 1.2',
  );
  const seen: [number, number | undefined][] = [];
  await runPip([pip], ["download"], scratch, (...now) => seen.push(now));
  assertGreater(seen.length, 0);
  assertEquals(seen.at(-1), [5000, 274e6]);
});

Deno.test("runPip() hands on pip's last error", async () => {
  const pip = await program('echo "ERROR: first" >&2; echo "ERROR: No matching distribution" >&2; exit 1');
  await assertRejects(
    () => runPip([pip], [], `${root}/scratch`, () => {}),
    InputError,
    `Cannot fetch by ${pip}: No matching distribution; check the network and try again`,
  );
});
