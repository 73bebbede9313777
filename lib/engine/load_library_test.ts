import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { libtensorflowSymbols } from "./libtensorflow_symbols.ts";
import { isSupported, loadFirstLibrary, loadLibrary } from "./load_library.ts";

/** A whole library of this machine that is no libtensorflow: the C library's mathematics. */
async function otherLibrary(): Promise<string | undefined> {
  for (const folder of [`/lib/${Deno.build.arch}-linux-gnu`, "/lib64", "/usr/lib64", "/usr/lib"]) {
    const path = `${folder}/libm.so.6`;
    if ((await Deno.stat(path).catch(() => undefined))?.isFile) return path;
  }
  return undefined;
}

async function complaintOf(path: string, place = "a test"): Promise<string> {
  const error = await assertRejects(() => loadLibrary({ path, place }), InputError);
  assert(!error.message.includes("\n"));
  assertStringIncludes(error.message, `Cannot load ${path} (${place}): `);
  return error.message;
}

Deno.test("loadLibrary() says in one line that a file is missing, and the fix", async () => {
  assertEquals(
    await complaintOf("/nowhere/libtensorflow_cc.so.2"),
    "Cannot load /nowhere/libtensorflow_cc.so.2 (a test): there is no such file; run `deno task setup --force`",
  );
  assertStringIncludes(
    await complaintOf("/nowhere/lib.so", "SEARCH_E1_LIBTENSORFLOW"),
    "point SEARCH_E1_LIBTENSORFLOW at another, or unset it",
  );
});

Deno.test("loadLibrary() says in one line which function a library lacks", async () => {
  const path = await otherLibrary();
  if (path === undefined) return console.log("left out: no libm.so.6 on this system");
  const complaint =
    /it has no function TFE?_\w+, so it is no libtensorflow that the kit knows; run `deno task setup/;
  assertMatch(await complaintOf(path), complaint);
});

Deno.test("loadLibrary() says in one line that a library is cut off, rather than die of it", async () => {
  const path = await otherLibrary();
  if (path === undefined) return console.log("left out: no libm.so.6 on this system");
  const cut = await Deno.makeTempFile({ dir: root, suffix: ".so" });
  await Deno.writeFile(cut, (await Deno.readFile(path)).subarray(0, 5000));
  assertStringIncludes(await complaintOf(cut), "it is cut off: it has 5000 of ");
});

const root = Deno.makeTempDirSync();
addEventListener("unload", () => Deno.removeSync(root, { recursive: true }));

/** Compiles a library with the C compiler; undefined without one. */
async function compiled(source: string, ...options: string[]): Promise<string | undefined> {
  const folder = await Deno.makeTempDir({ dir: root });
  await Deno.writeTextFile(`${folder}/source.c`, source);
  const args = ["-w", "-shared", "-fPIC", "-o", `${folder}/lib.so`, `${folder}/source.c`, ...options];
  try {
    return (await new Deno.Command("cc", { args }).output()).success ? `${folder}/lib.so` : undefined;
  } catch {
    return undefined;
  }
}

Deno.test("loadLibrary() says in one line that a release is too old", async () => {
  const own = Object.keys(libtensorflowSymbols).filter((name) =>
    name.startsWith("TF") && name !== "TF_Version"
  );
  const stubs = own.map((name) => `void ${name}(void) {}`).join("\n");
  const path = await compiled(
    `const char *TF_Version(void) { return "2.9.1"; }\n${stubs}`,
    "-Wl,--no-as-needed",
    "-lc",
  );
  if (path === undefined) return console.log("left out: no C compiler on this system");
  assertStringIncludes(
    await complaintOf(path),
    "it is release 2.9.1, and the kit takes 2.15 to 2.x, best 2.21.0; run `deno task setup`",
  );
});

Deno.test("loadLibrary() says in one line which library it needs beside it", async () => {
  const needed = await compiled(
    "int needed_function(void) { return 1; }",
    "-Wl,-soname,libneeded_by_test.so",
  );
  const path = needed &&
    await compiled("int needed_function(void); int f(void) { return needed_function(); }", needed);
  if (path === undefined) return console.log("left out: no C compiler on this system");
  assertStringIncludes(await complaintOf(path), "it needs libneeded_by_test.so, which is not beside it");
});

Deno.test("loadFirstLibrary() tells of every library that was found, or of none", async () => {
  const [a, b] = [{ path: "/nowhere/a.so", place: "here" }, { path: "/nowhere/b.so", place: "there" }];
  const both = await assertRejects(() => loadFirstLibrary([a, b]), InputError);
  assertStringIncludes(both.message, "/nowhere/a.so (here)");
  assertStringIncludes(both.message, "/nowhere/b.so (there)");
  await assertRejects(() => loadFirstLibrary([]), InputError, "Cannot find libtensorflow in");
});

Deno.test("isSupported() takes the releases that the binding knows", () => {
  assertEquals(["2.15.1", "2.21.0", "2.30.0-rc1"].map(isSupported), [true, true, true]);
  assertEquals(["1.15.0", "2.14.9", "3.0.0", ""].map(isSupported), [false, false, false, false]);
});
