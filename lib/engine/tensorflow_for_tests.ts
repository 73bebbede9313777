/**
 * Whether tests that need libtensorflow can run here.
 *
 * @module
 */
import { findLibraries } from "./locate.ts";

/** Options of a test that needs libtensorflow: left out, with a printed reason, where there is none. */
export async function needsTensorflow(): Promise<{ ignore: boolean }> {
  const ignore = (await findLibraries()).length === 0;
  if (ignore) {
    console.log("Tests of the engine tensorflow are left out: no libtensorflow; run `deno task setup`");
  }
  return { ignore };
}
