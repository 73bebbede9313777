/** Opens the engine that the settings ask for, fetching libtensorflow first where it is missing and can be had. */
import { ensureLibtensorflow } from "../lib/engine/install.ts";
import { type Engine, openEngine } from "../lib/engine/open_engine.ts";
import type { Config } from "../lib/run/config.ts";

/** Opens the engine; prints one line: which it is, and why a faster one was passed over. */
export async function prepareEngine(config: Config): Promise<{ engine: Engine; downloadSeconds: number }> {
  const { name, threads } = config.engine;
  const library = name === "auto" || name === "tensorflow" ? await ensureLibtensorflow() : undefined;
  const engine = await openEngine({ engine: name, ...(threads > 0 ? { threads } : {}) });
  const missing = library && !library.found ? [library.note] : engine.notes;
  console.log(`Engine: ${engine.report}${missing.length > 0 ? ` (${missing.join("; ")})` : ""}`);
  const downloadSeconds = library?.seconds ?? 0;
  if (downloadSeconds >= 1) {
    console.log(`Download: ${Math.round(downloadSeconds)} s, not counted in the run's time`);
  }
  return { engine, downloadSeconds };
}
