/**
 * Installing libtensorflow into the kit's cache folder: Python's wheel is fetched by package name, checked against a
 * checksum, and its two libraries are unpacked. One process at a time installs; an install appears whole or not at all.
 *
 * @module
 */
import { exists } from "../base/files.ts";
import { InputError } from "../base/input_error.ts";
import { type DownloadProgress, downloadProgress, plainSeconds } from "./download_progress.ts";
import { cacheFolder, findLibraries, installFolder, libraryNames, libtensorflowVersion } from "./locate.ts";
import { findPip, type PipCommand, runPip } from "./pip.ts";
import { archiveEntries, extractEntry, fileSha256 } from "./wheel.ts";

/** A wheel that carries libtensorflow: package, platform tag, checksum, and whether the kit was tried on it. */
export interface LibraryWheel {
  package: string;
  platform: string;
  sha256: string;
  tested: boolean;
}

/** Wheels of release 2.21.0 for CPython 3.12, whose libraries do not depend on Python, by `os-arch`. */
const wheels: Readonly<Record<string, LibraryWheel>> = {
  "linux-x86_64": {
    package: "tensorflow-cpu",
    platform: "manylinux_2_27_x86_64",
    sha256: "dcc8afd32930e42d5296b6ee19078b773706830af4ea97fbe503b9f5e0f820cb",
    tested: true,
  },
  "linux-aarch64": {
    package: "tensorflow",
    platform: "manylinux_2_27_aarch64",
    sha256: "b07d15737406533898e36c7ef7944b1be18e9028dc521b9229952c537bbc5552",
    tested: false,
  },
  "darwin-aarch64": {
    package: "tensorflow",
    platform: "macosx_12_0_arm64",
    sha256: "56ecd7d47429acbe1df2694d50b75bf9fc3995ac92cb367cd9af6c4780ead712",
    tested: false,
  },
};

/**
 * The wheel for a machine.
 *
 * @throws {InputError} when there is none for it.
 */
export function wheelFor({ os, arch }: { os: string; arch: string } = Deno.build): LibraryWheel {
  const wheel = wheels[`${os}-${arch}`];
  if (wheel === undefined) {
    throw new InputError(
      `Cannot install libtensorflow on ${os} ${arch}: no package carries it; use the engine wasm`,
    );
  }
  return wheel;
}

/** Options of {@linkcode installLibtensorflow}. */
export interface InstallOptions {
  /** Whether to install the CUDA build with all that it needs, 3 GB and more, in place of the processor build. */
  gpu?: boolean;
  /** Whether to install again over what is there. */
  force?: boolean;
  /** Receives progress and plain messages. */
  progress: DownloadProgress;
  /** A wheel on this machine in place of the download, with its checksum. */
  wheel?: { path: string; sha256: string };
}

/**
 * Installs libtensorflow into the cache folder, unless it is there, and returns the folder.
 *
 * @throws {InputError} when the machine has no build, pip is missing or fails, or the checksum differs.
 */
export async function installLibtensorflow(options: InstallOptions): Promise<string> {
  const { gpu = false, force = false, progress } = options;
  const target = installFolder(gpu ? "gpu" : "cpu");
  const cache = cacheFolder();
  await Deno.mkdir(cache, { recursive: true });
  // The system drops the lock with the process that holds it, however that ends.
  using lock = await Deno.open(`${cache}/setup.lock`, { write: true, create: true });
  if (!await lock.tryLock(true)) {
    progress.say("Another process is installing libtensorflow; waiting for it");
    await lock.lock(true);
  }
  if (!force && await exists(target)) return target;
  // Whatever an install left behind that was cut off: nobody else can be at work here now.
  for await (const { name } of Deno.readDir(cache)) {
    if (/^setup-\d+\.tmp$/.test(name)) await Deno.remove(`${cache}/${name}`, { recursive: true });
  }
  const scratch = `${cache}/setup-${Deno.pid}.tmp`;
  const fresh = `${scratch}/fresh`;
  await Deno.mkdir(fresh, { recursive: true });
  try {
    if (gpu) await fetchCudaBuild(scratch, fresh, progress);
    else await unpackLibraries(options.wheel ?? await fetchWheel(scratch, progress), fresh);
    if (await exists(target)) await Deno.rename(target, `${scratch}/old`);
    await Deno.rename(fresh, target);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  return target;
}

async function fetchWheel(
  scratch: string,
  progress: DownloadProgress,
): Promise<{ path: string; sha256: string }> {
  const wheel = wheelFor();
  const pip = await requirePip();
  if (!wheel.tested) progress.say(`The libtensorflow of ${wheel.platform} has not been tried with this kit`);
  const folder = `${scratch}/wheel`;
  progress.start(`libtensorflow ${libtensorflowVersion}`);
  await runPip(
    pip,
    [
      "download",
      "--no-deps",
      ...selection([wheel.platform], ["cp312"]),
      "--dest",
      folder,
      `${wheel.package}==${libtensorflowVersion}`,
    ],
    `${scratch}/pip`,
    progress.update,
  );
  progress.end();
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".whl")) return { path: `${folder}/${name}`, sha256: wheel.sha256 };
  }
  throw new InputError(`Cannot fetch ${wheel.package} ${libtensorflowVersion}: pip left no wheel`);
}

/** Python's own layout is kept, because the libraries look for CUDA's beside them; pip checks the index's checksums. */
async function fetchCudaBuild(scratch: string, folder: string, progress: DownloadProgress): Promise<void> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    throw new InputError(
      "Cannot install the CUDA build here: it is made for linux x86_64 alone; leave out --gpu",
    );
  }
  const pip = await requirePip();
  const platforms = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
  ];
  progress.start(`libtensorflow ${libtensorflowVersion} with CUDA`);
  await runPip(
    pip,
    [
      "install",
      ...selection(platforms, ["cp312", "abi3", "none"]),
      "--target",
      folder,
      `tensorflow[and-cuda]==${libtensorflowVersion}`,
    ],
    `${scratch}/pip`,
    progress.update,
  );
  progress.end();
}

async function requirePip(): Promise<PipCommand> {
  const pip = await findPip();
  if (pip === undefined) {
    throw new InputError(
      "Cannot install libtensorflow: pip is not there; install Python's pip, or use the engine wasm",
    );
  }
  return pip;
}

/** pip's options for CPython 3.12 wheels, whatever Python runs pip. */
function selection(platforms: readonly string[], abis: readonly string[]): string[] {
  return [
    "--only-binary=:all:",
    ...platforms.flatMap((platform) => ["--platform", platform]),
    "--python-version",
    "3.12",
    "--implementation",
    "cp",
    ...abis.flatMap((abi) => ["--abi", abi]),
  ];
}

async function unpackLibraries(wheel: { path: string; sha256: string }, folder: string): Promise<void> {
  const sha256 = await fileSha256(wheel.path);
  if (sha256 !== wheel.sha256) {
    throw new InputError(
      `Cannot use ${wheel.path}: its SHA-256 is ${sha256}, and ${wheel.sha256} is expected; fetch it again`,
    );
  }
  const entries = await archiveEntries(wheel.path);
  const main = libraryNames(Deno.build.os)[0]!;
  for (const name of [main.replace("_cc", "_framework"), main]) {
    const entry = entries.find((entry) => entry.name === `tensorflow/${name}`);
    if (entry === undefined) throw new InputError(`Cannot use ${wheel.path}: it holds no tensorflow/${name}`);
    await extractEntry(wheel.path, entry, `${folder}/${name}`);
  }
}

/** What {@linkcode ensureLibtensorflow} found or did. */
export interface EnsuredLibrary {
  /** The path of the library, or undefined without one. */
  found: string | undefined;
  /** How long the download and unpacking took. */
  seconds: number;
  /** One line for the user. */
  note: string;
}

/**
 * Finds a libtensorflow, or installs one when pip is there; never throws for what the user lacks, but says it in one line.
 *
 * @param options.quiet Show no progress of the download.
 *
 * @example
 * ```ts
 * import { ensureLibtensorflow } from "@search-e1/kit";
 * import { assert } from "@std/assert";
 *
 * const { found, note } = await ensureLibtensorflow({ quiet: true });
 * assert(found !== undefined || note.endsWith("wasm is used"));
 * ```
 */
export async function ensureLibtensorflow(
  { quiet = false }: { quiet?: boolean } = {},
): Promise<EnsuredLibrary> {
  const [first] = await findLibraries();
  if (first !== undefined) {
    return { found: first.path, seconds: 0, note: `libtensorflow is in ${first.place}` };
  }
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  try {
    const folder = await installLibtensorflow({ progress: downloadProgress({ quiet }) });
    const seconds = elapsed();
    const note = `libtensorflow ${libtensorflowVersion} was installed in ${plainSeconds(seconds)}`;
    return { found: `${folder}/${libraryNames(Deno.build.os)[0]}`, seconds, note };
  } catch (error) {
    // A full disk, a folder that is not ours, a missing permission: none keeps the other engines from working.
    const reason = (error as Error).message.split("\n")[0]!.replace(/(;|, or) use the engine wasm$/, "");
    const note = `${reason}; wasm is used`;
    return { found: undefined, seconds: elapsed(), note };
  }
}
