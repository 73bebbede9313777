import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { writeArchive } from "./archive_for_tests.ts";
import { wheelFor } from "./install.ts";
import { libraryNames } from "./locate.ts";
import { fileSha256 } from "./wheel.ts";

const main = libraryNames(Deno.build.os)[0]!;
const framework = main.replace("_cc", "_framework");
const install = new URL("./install.ts", import.meta.url).href;
const progress = new URL("./download_progress.ts", import.meta.url).href;

const root = Deno.makeTempDirSync();
addEventListener("unload", () => Deno.removeSync(root, { recursive: true }));
let folders = 0;

/** A folder of its own, removed with all the others when the tests end. */
function freshFolder(): string {
  const folder = `${root}/${folders++}`;
  Deno.mkdirSync(folder);
  return folder;
}

/** A small wheel with the two libraries in it, `size` bytes each, and a folder to install it into. */
async function fakeWheel(size: number): Promise<{ cache: string; wheel: { path: string; sha256: string } }> {
  const root = freshFolder();
  const path = `${root}/fake.whl`;
  await writeArchive(path, {
    "tensorflow/__init__.py": new TextEncoder().encode("print('not unpacked')"),
    [`tensorflow/${framework}`]: noise(size, 1),
    [`tensorflow/${main}`]: noise(size, 2),
  });
  return { cache: `${root}/cache`, wheel: { path, sha256: await fileSha256(path) } };
}

/** Bytes that hardly compress. */
function noise(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(size / 4);
  for (let i = 0, x = seed; i < words.length; i++) words[i] = x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer);
}

/** Starts a process that installs, with a cache folder of its own and, when told so, no programs to call. */
function installer(cache: string, call: string, env: Record<string, string> = {}): Deno.ChildProcess {
  const script = `import { ensureLibtensorflow, installLibtensorflow } from ${JSON.stringify(install)};
    import { downloadProgress } from ${JSON.stringify(progress)};
    const progress = downloadProgress();
    try { console.log(JSON.stringify(await ${call})); } catch (error) { console.log(error.name, error.message); }`;
  return new Deno.Command(Deno.execPath(), {
    args: ["eval", script],
    env: { ...env, SEARCH_E1_CACHE: cache, SEARCH_E1_LIBTENSORFLOW: "" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function outcome(process: Deno.ChildProcess): Promise<{ out: string; errors: string }> {
  const { stdout, stderr } = await process.output();
  return { out: new TextDecoder().decode(stdout).trim(), errors: new TextDecoder().decode(stderr) };
}

function installCall(wheel: { path: string; sha256: string }, force = false): string {
  return `installLibtensorflow(${JSON.stringify({ wheel, force }).slice(0, -1)}, progress })`;
}

async function listing(folder: string): Promise<string[]> {
  const names = [];
  for await (const { name } of Deno.readDir(folder)) names.push(name);
  return names.sort();
}

Deno.test("installLibtensorflow() unpacks the two libraries and nothing else, once, or again by force", async () => {
  const { cache, wheel } = await fakeWheel(40_000);
  const { out } = await outcome(installer(cache, installCall(wheel)));
  const target = `${cache}/libtensorflow-2.21.0-cpu`;
  assertEquals(out, JSON.stringify(target));
  assertEquals(await listing(cache), ["libtensorflow-2.21.0-cpu", "setup.lock"]);
  assertEquals(await listing(target), [main, framework].sort());
  assertEquals(await Deno.readFile(`${target}/${main}`), noise(40_000, 2));
  await Deno.writeTextFile(`${target}/${main}`, "spoilt");
  await outcome(installer(cache, installCall(wheel)));
  assertEquals(await Deno.readTextFile(`${target}/${main}`), "spoilt");
  await outcome(installer(cache, installCall(wheel, true)));
  assertEquals(await Deno.readFile(`${target}/${main}`), noise(40_000, 2));
  assertEquals(await listing(cache), ["libtensorflow-2.21.0-cpu", "setup.lock"]);
});

Deno.test("installLibtensorflow() refuses a wheel with another checksum, and leaves nothing", async () => {
  const { cache, wheel } = await fakeWheel(400);
  const { out } = await outcome(installer(cache, installCall({ ...wheel, sha256: "0".repeat(64) })));
  assertEquals(
    out,
    `InputError Cannot use ${wheel.path}: its SHA-256 is ${wheel.sha256}, and ${
      "0".repeat(64)
    } is expected; fetch it again`,
  );
  assertEquals(await listing(cache), ["setup.lock"]);
});

Deno.test("installLibtensorflow() cut off by kill -9 leaves no install, and the next one mends it", async () => {
  const { cache, wheel } = await fakeWheel(40_000_000);
  const target = `${cache}/libtensorflow-2.21.0-cpu`;
  for (const wanted of [framework, main]) {
    const process = installer(cache, installCall(wheel));
    const partial = `${cache}/setup-${process.pid}.tmp/fresh/${wanted}`;
    while (!await Deno.stat(partial).then(() => true, () => false)) {
      await new Promise((go) => setTimeout(go, 1));
    }
    process.kill("SIGKILL");
    await outcome(process);
    assertEquals(await listing(cache), ["setup.lock", `setup-${process.pid}.tmp`].sort());
  }
  await outcome(installer(cache, installCall(wheel)));
  assertEquals(await listing(cache), ["libtensorflow-2.21.0-cpu", "setup.lock"]);
  assertEquals((await Deno.stat(`${target}/${main}`)).size, 40_000_000);
});

Deno.test("installLibtensorflow() lets one process install while another waits for it", async () => {
  const { cache, wheel } = await fakeWheel(20_000_000);
  const outcomes = await Promise.all(
    [1, 2, 3].map(() => outcome(installer(cache, installCall(wheel)))),
  );
  for (const { out } of outcomes) assertEquals(out, JSON.stringify(`${cache}/libtensorflow-2.21.0-cpu`));
  assert(
    outcomes.some(({ errors }) =>
      errors.includes("Another process is installing libtensorflow; waiting for it")
    ),
  );
  assertEquals(await listing(cache), ["libtensorflow-2.21.0-cpu", "setup.lock"]);
});

/** An environment in which no library lies where Python or the user keeps it. */
function bareEnvironment(): Record<string, string> {
  return { HOME: freshFolder(), VIRTUAL_ENV: "", CONDA_PREFIX: "", DENO_DIR: denoFolder() };
}

/** Deno's own cache, which a child with another home must still find. */
function denoFolder(): string {
  return Deno.env.get("DENO_DIR") || `${Deno.env.get("HOME")}/.cache/deno`;
}

async function systemLibrary(): Promise<boolean> {
  for (
    const folder of ["/usr/local/lib", "/usr/lib", `/usr/lib/${Deno.build.arch}-linux-gnu`, "/usr/lib64"]
  ) {
    for (const name of libraryNames(Deno.build.os)) {
      if (await Deno.stat(`${folder}/${name}`).then(() => true, () => false)) return true;
    }
  }
  return false;
}

Deno.test("ensureLibtensorflow() without pip says in one line what is missing", async () => {
  if (await systemLibrary()) return console.log("left out: this system has a libtensorflow of its own");
  const env = { ...bareEnvironment(), PATH: "/nowhere" };
  const { out } = await outcome(
    installer(freshFolder(), "ensureLibtensorflow({ quiet: true })", env),
  );
  const { found, note } = JSON.parse(out);
  assertEquals(found, undefined);
  assertEquals(
    note,
    "Cannot install libtensorflow: pip is not there; install Python's pip; wasm is used",
  );
});

Deno.test("ensureLibtensorflow() without a network says in one line what failed", async () => {
  if (await systemLibrary()) return console.log("left out: this system has a libtensorflow of its own");
  const env = {
    ...bareEnvironment(),
    PIP_CONFIG_FILE: "/dev/null",
    PIP_INDEX_URL: "http://127.0.0.1:9/",
    PIP_FIND_LINKS: "",
    PIP_RETRIES: "0",
  };
  const { out, errors } = await outcome(
    installer(freshFolder(), "ensureLibtensorflow({ quiet: true })", env),
  );
  const { found, note } = JSON.parse(out);
  assertEquals([found, errors], [undefined, ""]);
  if (note.includes("pip is not there")) return console.log("left out: no pip on this system");
  assertMatch(note, /^Cannot fetch by [^:]+: .+; check the network and try again; wasm is used$/);
});

Deno.test("wheelFor() names a wheel for each machine that has one, and wasm for the others", async () => {
  const tested = { os: "linux", arch: "x86_64" };
  assertEquals([wheelFor(tested).package, wheelFor(tested).tested], ["tensorflow-cpu", true]);
  assertEquals(wheelFor({ os: "darwin", arch: "aarch64" }).platform, "macosx_12_0_arm64");
  assertEquals(wheelFor({ os: "linux", arch: "aarch64" }).tested, false);
  const error = await assertRejects(
    () => Promise.resolve().then(() => wheelFor({ os: "windows", arch: "x86_64" })),
    InputError,
  );
  assertStringIncludes(error.message, "no package carries it; use the engine wasm");
});
