import { assertEquals } from "@std/assert";
import { cacheFolder, findLibraries, installFolder } from "./locate.ts";

const from = (values: Record<string, string>) => (name: string) => values[name];

Deno.test("cacheFolder() follows SEARCH_E1_CACHE, then XDG_CACHE_HOME, then the system's custom", () => {
  const all = { SEARCH_E1_CACHE: "/own", XDG_CACHE_HOME: "/xdg", HOME: "/home/a" };
  const { SEARCH_E1_CACHE: _, ...some } = all;
  assertEquals(cacheFolder({ env: from(all), os: "linux" }), "/own");
  assertEquals(cacheFolder({ env: from(some), os: "linux" }), "/xdg/search-e1");
  assertEquals(cacheFolder({ env: from({ HOME: "/home/a" }), os: "linux" }), "/home/a/.cache/search-e1");
  assertEquals(
    cacheFolder({ env: from({ HOME: "/Users/a" }), os: "darwin" }),
    "/Users/a/Library/Caches/search-e1",
  );
  assertEquals(installFolder("gpu", { env: from(all) }), "/own/libtensorflow-2.21.0-gpu");
});

Deno.test("findLibraries() looks in the cache, CUDA first, then in Python's packages, newest first", async () => {
  const root = await Deno.makeTempDir();
  const name = "libtensorflow_cc.so.2";
  const files = [
    `${root}/cache/libtensorflow-2.21.0-gpu/tensorflow/${name}`,
    `${root}/cache/libtensorflow-2.21.0-cpu/${name}`,
    `${root}/venv/lib/python3.12/site-packages/tensorflow/${name}`,
    `${root}/venv/lib/python3.9/site-packages/tensorflow/${name}`,
    `${root}/conda/lib/python3.11/site-packages/tensorflow/${name}`,
    `${root}/home/.local/lib/python3.13/site-packages/tensorflow/${name}`,
  ];
  for (const file of files) {
    await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(file, "");
  }
  const env = from({
    SEARCH_E1_CACHE: `${root}/cache`,
    VIRTUAL_ENV: `${root}/venv`,
    CONDA_PREFIX: `${root}/conda`,
    HOME: `${root}/home`,
  });
  const found = (await findLibraries({ env, os: "linux" })).filter(({ path }) => path.startsWith(root));
  assertEquals(found.map(({ path }) => path), files);
  assertEquals(found.map(({ place }) => place), [
    "the kit's cache folder (CUDA)",
    "the kit's cache folder",
    ...Array(4).fill("Python's packages"),
  ]);
  await Deno.remove(root, { recursive: true });
});

Deno.test("findLibraries() looks only where SEARCH_E1_LIBTENSORFLOW points, at a folder or a file", async () => {
  const root = await Deno.makeTempDir();
  const place = "SEARCH_E1_LIBTENSORFLOW";
  const look = (path: string) => findLibraries({ env: from({ [place]: path }), os: "linux" });
  assertEquals(await look(root), [{ path: `${root}/libtensorflow_cc.so.2`, place }]);
  await Deno.writeTextFile(`${root}/libtensorflow.so.2`, "");
  assertEquals(await look(root), [{ path: `${root}/libtensorflow.so.2`, place }]);
  assertEquals(await look(`${root}/other.so`), [{ path: `${root}/other.so`, place }]);
  await Deno.remove(root, { recursive: true });
});
