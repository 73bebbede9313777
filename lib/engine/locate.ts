/**
 * Where a libtensorflow is looked for: what the user names, the kit's cache folder, the npm package's own folder,
 * Python's packages, the system.
 *
 * @module
 */

/** The release that the kit installs and is tested with. */
export const libtensorflowVersion = "2.21.0";

/** A library that is there, and the place it was found in. */
export interface FoundLibrary {
  path: string;
  place: string;
}

type Environment = (name: string) => string | undefined;

/** Sources of paths, for tests: environment variables and the operating system. */
export interface LocateOptions {
  env?: Environment;
  os?: string;
}

const readEnvironment: Environment = (name) => Deno.env.get(name) || undefined;

/** File names of libtensorflow: the one in Python's wheels, then the one in the C archives. */
export function libraryNames(os: string): string[] {
  return os === "darwin"
    ? ["libtensorflow_cc.2.dylib", "libtensorflow.2.dylib"]
    : ["libtensorflow_cc.so.2", "libtensorflow.so.2"];
}

/** The folder where the kit keeps what it downloads: SEARCH_E1_CACHE, or `search-e1` in the user's cache folder. */
export function cacheFolder({ env = readEnvironment, os = Deno.build.os }: LocateOptions = {}): string {
  const own = env("SEARCH_E1_CACHE");
  if (own !== undefined) return own;
  const home = env("HOME") ?? ".";
  const fallback = os === "darwin" ? `${home}/Library/Caches` : `${home}/.cache`;
  return `${env("XDG_CACHE_HOME") ?? fallback}/search-e1`;
}

/** The folder in the cache of the processor build, or of the CUDA build with its Python layout. */
export function installFolder(build: "cpu" | "gpu", options: LocateOptions = {}): string {
  return `${cacheFolder(options)}/libtensorflow-${libtensorflowVersion}-${build}`;
}

/**
 * Every libtensorflow on this machine, in the order in which they are tried. With SEARCH_E1_LIBTENSORFLOW set, to a file
 * or a folder, that place alone counts, and is returned even when nothing is there.
 */
export async function findLibraries(options: LocateOptions = {}): Promise<FoundLibrary[]> {
  const { env = readEnvironment, os = Deno.build.os } = options;
  const names = libraryNames(os);
  const named = env("SEARCH_E1_LIBTENSORFLOW");
  if (named !== undefined) {
    const place = "SEARCH_E1_LIBTENSORFLOW";
    const inside = await isFolder(named) ? await firstFile(named, names) ?? `${named}/${names[0]}` : named;
    return [{ path: inside, place }];
  }
  const found: FoundLibrary[] = [];
  for (const [place, folder] of await places(env, os, options)) {
    const path = await firstFile(folder, names);
    if (path !== undefined) found.push({ path, place });
  }
  return found;
}

async function places(env: Environment, os: string, options: LocateOptions): Promise<[string, string][]> {
  const home = env("HOME");
  const pythons = [env("VIRTUAL_ENV"), env("CONDA_PREFIX"), home && `${home}/.local`, "/usr/local", "/usr"];
  if (os === "darwin") pythons.push("/opt/homebrew");
  const packages: string[] = [];
  for (const prefix of pythons) if (prefix) packages.push(...await pythonPackages(prefix));
  const addon = new URL("../deps/lib", import.meta.resolve("@tensorflow/tfjs-node-gpu/dist/index.js"));
  const system = ["/usr/local/lib", "/usr/lib", `/usr/lib/${Deno.build.arch}-linux-gnu`, "/usr/lib64"];
  return [
    ["the kit's cache folder (CUDA)", `${installFolder("gpu", options)}/tensorflow`],
    ["the kit's cache folder", installFolder("cpu", options)],
    ["tfjs-node-gpu's deps/lib", decodeURIComponent(addon.pathname)],
    ...packages.map((folder): [string, string] => ["Python's packages", `${folder}/tensorflow`]),
    ...system.map((folder): [string, string] => ["the system's libraries", folder]),
  ];
}

/** The package folders of every Python 3 below a prefix, newest first. */
async function pythonPackages(prefix: string): Promise<string[]> {
  const versions: string[] = [];
  try {
    for await (const entry of Deno.readDir(`${prefix}/lib`)) {
      if (/^python3(\.\d+)?$/.test(entry.name)) versions.push(entry.name);
    }
  } catch {
    return []; // no such prefix, or not ours to read
  }
  versions.sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
  return versions.flatMap((name) => [
    `${prefix}/lib/${name}/site-packages`,
    `${prefix}/lib/${name}/dist-packages`,
  ]);
}

async function firstFile(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    const path = `${folder}/${name}`;
    const info = await Deno.stat(path).catch(() => undefined);
    if (info?.isFile) return path;
  }
  return undefined;
}

async function isFolder(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isDirectory ?? false;
}
