/** Opens the engine that the settings ask for, fetching libtensorflow first where it is missing and can be had. */
import { ensureLibtensorflow } from "../lib/engine/libtensorflow.ts";
import { type Engine, openEngine } from "../lib/engine/open_engine.ts";
import type { Config } from "../lib/run/config.ts";

/** Fetches libtensorflow when it is not on this machine; returns the seconds that took. */
export async function fetchLibrary(): Promise<number> {
  const started = performance.now();
  const fetched = await ensureLibtensorflow({ onProgress: (line) => console.error(line) });
  return fetched ? (performance.now() - started) / 1000 : 0;
}

/** Opens the engine and prints its line, and one for every faster engine that was passed over. */
export async function prepareEngine(config: Config): Promise<{ engine: Engine; downloadSeconds: number }> {
  const { name, threads } = config.engine;
  const downloadSeconds = name === "auto" || name === "tensorflow" ? await fetchLibrary() : 0;
  const engine = await openEngine({ engine: name, threads });
  for (const note of engine.notes) console.log(note);
  console.log(`Engine: ${engine.report}`);
  if (downloadSeconds > 0) {
    console.log(`Download: ${downloadSeconds.toFixed(0)} s, not counted in the run's time`);
  }
  return { engine, downloadSeconds };
}
