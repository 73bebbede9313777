/**
 * Loading a libtensorflow, with one clear line for whatever is wrong with it.
 *
 * @module
 */
import { InputError } from "../base/input_error.ts";
import { libraryComplaint } from "./library_file.ts";
import { cString, type Libtensorflow, libtensorflowSymbols, textAt } from "./libtensorflow_symbols.ts";
import { withoutLog } from "./quiet_log.ts";
import { findLibraries, type FoundLibrary, libtensorflowVersion } from "./locate.ts";

/** The oldest release that is taken; the tests run on the one that the kit installs. */
const oldestVersion = [2, 15] as const;

/** A loaded library, where it lies and which release it is. */
export interface LoadedLibrary extends FoundLibrary {
  library: Libtensorflow;
  version: string;
}

/**
 * Loads the first libtensorflow that this machine can use, or says of each that was found why not.
 *
 * @throws {InputError} when there is none, or none that works.
 */
export async function loadFirstLibrary(found?: FoundLibrary[]): Promise<LoadedLibrary> {
  const complaints: string[] = [];
  for (const candidate of found ?? await findLibraries()) {
    try {
      return await loadLibrary(candidate);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      complaints.push(error.message);
    }
  }
  if (complaints.length > 0) throw new InputError(complaints.join("; "));
  throw new InputError(
    "Cannot find libtensorflow in SEARCH_E1_LIBTENSORFLOW, the kit's cache folder, tfjs-node-gpu, Python's packages " +
      "or the system's libraries; run `deno task setup`",
  );
}

/**
 * Loads one libtensorflow and keeps it loaded for the life of the process.
 *
 * @throws {InputError} when the file is missing, cut off, of another machine, of an unknown release, or no libtensorflow.
 */
export async function loadLibrary({ path, place }: FoundLibrary): Promise<LoadedLibrary> {
  const fail = (reason: string) => new InputError(`Cannot load ${path} (${place}): ${reason}`);
  const fix = place === "SEARCH_E1_LIBTENSORFLOW"
    ? "point SEARCH_E1_LIBTENSORFLOW at another, or unset it"
    : "run `deno task setup --force`";
  const complaint = libraryComplaint(path);
  if (complaint !== undefined) throw fail(`${complaint}; ${fix}`);
  const real = await Deno.realPath(path);
  let library: Libtensorflow;
  try {
    library = withoutLog(() => Deno.dlopen(real, libtensorflowSymbols));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw fail(`${loaderReason((error as Error).message)}; ${fix}`);
  }
  // Unloading TensorFlow crashes in its threads and destructors: RTLD_LAZY | RTLD_NODELETE holds it.
  library.symbols.dlopen(cString(real), Deno.build.os === "darwin" ? 0x81 : 0x1001);
  const version = textAt(library.symbols.TF_Version());
  if (!isSupported(version)) {
    throw fail(
      `it is release ${version}, and the kit takes ${
        oldestVersion.join(".")
      } to 2.x, best ${libtensorflowVersion}; ` +
        fix.replace(" --force", ""),
    );
  }
  return { path, place, library, version };
}

/** Whether the binding knows a release's C API. */
export function isSupported(version: string): boolean {
  const [major, minor] = version.split(".").map(Number);
  return major === oldestVersion[0] && minor !== undefined && minor >= oldestVersion[1];
}

/** The loader's message in a person's words. */
function loaderReason(message: string): string {
  const symbol = /undefined symbol: (\w+)|register symbol (\w+)/.exec(message);
  if (symbol) {
    return `it has no function ${symbol[1] ?? symbol[2]}, so it is no libtensorflow that the kit knows`;
  }
  const needed = /(lib[^\s:/]+): cannot open shared object file/.exec(message);
  if (needed) return `it needs ${needed[1]}, which is not beside it`;
  return message.replaceAll("Could not open library: ", "").split("\n")[0]!;
}
