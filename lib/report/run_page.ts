/** What the page shows of a run folder, be the run finished, under way or not there yet. @module */
import { InputError } from "../base/input_error.ts";
import { createDetectors } from "../learn/detectors.ts";
import type { PageData, StageProgress } from "./page_data.ts";
import { runCharts } from "./run_charts.ts";
import { FileCache, readRun, type RunRecord } from "./run_record.ts";
import { heatmaps, heldOutTranscripts, type Limit, newestRollouts, siblingPairs } from "./run_transcripts.ts";
import { evaluationNotes, evaluationRows, fixed } from "./tables.ts";

/** How much a page shows. */
interface PageLimits {
  /** About as many points a chart has at most. */
  points: number;
  /** Questions of all held-out sets, and bytes of all their transcripts. */
  heldOut: Limit;
  rollouts: Limit;
  /** Pairs, and examples of heat maps, of each OFSD stage; bytes of all. */
  pairs: Limit;
  heatmaps: Limit;
}

/** A report that opens quickly and can be mailed: about 4 MB with Vega. */
const reportLimits: PageLimits = {
  points: 3000,
  heldOut: { count: Infinity, bytes: 2_400_000 },
  rollouts: { count: Infinity, bytes: 250_000 },
  pairs: { count: Infinity, bytes: 1_000_000 },
  heatmaps: { count: Infinity, bytes: 500_000 },
};

/** A message that is sent anew with every step: below 1 MB. */
const liveLimits: PageLimits = {
  points: 300,
  heldOut: { count: 40, bytes: 200_000 },
  rollouts: { count: 24, bytes: 60_000 },
  pairs: { count: 12, bytes: 60_000 },
  heatmaps: { count: 4, bytes: 60_000 },
};

/** What `runPageData` takes beside the folder. */
export interface PageOptions {
  /** Folders of runs to compare with. */
  compare?: readonly string[];
  /** Show less, for a page that is sent the data again and again. */
  live?: boolean;
  /** Keeps what was read from one call to the next. */
  files?: FileCache;
}

/**
 * Reads a run folder for the page.
 *
 * @throws {InputError} when a file in it is malformed, or a folder to compare with holds no run.
 */
export async function runPageData(folder: string, options: PageOptions = {}): Promise<PageData> {
  const { compare = [], live = false, files = new FileCache() } = options;
  files.begin();
  const limits = live ? liveLimits : reportLimits;
  const run = await readRun(folder, files);
  const compared: RunRecord[] = [];
  for (const other of compare) {
    const record = await readRun(other, files);
    if (record.state === "new") {
      throw new InputError(`Cannot compare with ${other}: it holds no run; give run folders after --compare`);
    }
    // Two runs of one name are told apart by their paths.
    const taken = [run, ...compared].some(({ name }) => name === record.name);
    compared.push(taken ? { ...record, name: other } : record);
  }
  const sets = [...new Set(run.evaluation?.rows.map(({ set }) => set))];
  const share = ({ count, bytes }: Limit): Limit => ({
    count: count / sets.length,
    bytes: bytes / sets.length,
  });
  const heldOut = [];
  for (const set of sets) heldOut.push(await heldOutTranscripts(run, set, files, share(limits.heldOut)));
  const rollouts = await newestRollouts(run, files, limits.rollouts);
  const pairs = await siblingPairs(run, files, limits.pairs);
  const maps = await heatmaps(run, files, limits.heatmaps);
  return {
    title: run.config?.title || (run.state === "new" ? `Waiting for a run in ${folder}` : "A Search-E1 run"),
    name: run.name,
    state: run.state,
    stages: stageProgress(run),
    step: run.rows.at(-1)?.step ?? 0,
    updated: run.updated?.toISOString() ?? null,
    headline: headline(run),
    tables: resultTables(run, compared),
    notes: notes(run),
    warnings: warnings(run),
    charts: await runCharts(run, compared, files, limits.points),
    transcripts: [...heldOut, rollouts].flatMap(({ shown }) => shown),
    pairs: pairs.shown,
    heatmaps: maps.shown,
    leftOut: [...heldOut, rollouts, pairs, maps].flatMap(({ leftOut }) => leftOut),
    config: run.configText,
    environment: run.environmentText,
  };
}

/** The stages of the config: those before the one under way are done. */
function stageProgress({ stages, stagesDone, rows }: RunRecord): StageProgress[] {
  // Metrics are ahead of the newest checkpoint, so they may show a later stage.
  const reached = stages.findIndex(({ name }) => name === rows.at(-1)?.stage);
  const done = Math.max(stagesDone, reached);
  return stages.map(({ name }, i) => ({
    name,
    steps: rows.filter(({ stage }) => stage === name).length,
    state: i < done ? "done" : i === done ? "running" : "waiting",
  }));
}

/** Greedy figures of every held-out set from the end of the first GRPO stage to the last stage; the best checkpoint. */
function headline({ stages, evaluation, best, rows }: RunRecord): PageData["headline"] {
  const out: PageData["headline"] = [];
  const greedy = evaluation?.rows.filter(({ decoding }) => decoding === "greedy") ?? [];
  const firstGrpo = stages.find(({ kind }) => kind === "grpo")?.name;
  for (const [set, ofSet] of Map.groupBy(greedy, (row) => row.set)) {
    const first = ofSet.find(({ stage }) => stage === firstGrpo) ?? ofSet[0]!;
    const last = ofSet.at(-1)!;
    const moves = first !== last;
    const between = moves ? `${first.stage} → ${last.stage}` : `after ${last.stage}`;
    const shown = (from: string, to: string) => moves ? `${from} → ${to}` : to;
    out.push({
      label: `Exact match, ${set}`,
      value: shown(fixed(first.em), fixed(last.em)),
      note: `${between}; ± ${fixed(last.em_se)} s.e.`,
    }, {
      label: `Searches, ${set}`,
      value: shown(fixed(first.searches, 2), fixed(last.searches, 2)),
      note: moves ? `${between}; ${percent(last.searches / first.searches - 1)} searches` : between,
    });
  }
  if (best) {
    out.push({
      label: "Best checkpoint",
      value: best.checkpoint,
      note: `after ${best.stage}: validation EM ${fixed(best.em)}, ${fixed(best.searches, 2)} searches`,
    });
  }
  const newest = rows.at(-1);
  if (out.length === 0 && newest) {
    const metric = ["reward", "loss"].find((name) => Number.isFinite(newest[name]));
    if (metric) {
      out.push({
        label: metric,
        value: fixed(newest[metric] as number),
        note: `${newest.stage}, step ${newest.step}`,
      });
    }
  }
  return out;
}

/** −31 %, as people write it. */
function percent(share: number): string {
  if (!Number.isFinite(share)) return "n/a";
  const rounded = Math.round(100 * share);
  return `${rounded < 0 ? "−" : rounded > 0 ? "+" : "±"}${Math.abs(rounded)} %`;
}

/** The run's table; compared runs side by side, then their own tables. */
function resultTables(run: RunRecord, compared: readonly RunRecord[]): PageData["tables"] {
  const measured = [run, ...compared].filter(({ evaluation }) => evaluation && evaluation.rows.length > 0);
  const own = measured.map(({ name, evaluation }) => ({
    title: compared.length > 0 ? `Held-out questions: ${name}` : "Held-out questions",
    rows: evaluationRows(evaluation!.rows),
  }));
  if (measured.length < 2) return own;
  const labels = new Set(measured.flatMap(({ evaluation }) => evaluation!.rows.map(label)));
  const sideBySide = [
    ["stage · set · decoding", ...measured.flatMap(({ name }) => [`EM ${name}`, `searches ${name}`])],
    ...[...labels].map((wanted) => [
      wanted,
      ...measured.flatMap(({ evaluation }) => {
        const row = evaluation!.rows.find((each) => label(each) === wanted);
        return [fixed(row?.em), fixed(row?.searches, 2)];
      }),
    ]),
  ];
  return [{ title: "Side by side", rows: sideBySide }, ...own];
}

function label({ stage, set, decoding }: { stage: string; set: string; decoding: string }): string {
  return `${stage} · ${set} · ${decoding}`;
}

/** Bounds, recall probe, teacher and time, and what computed. Roll-backs stand among the warnings. */
function notes({ evaluation }: RunRecord): string[] {
  if (!evaluation) return [];
  const { name, device, threads, version } = evaluation.engine;
  return [
    ...evaluationNotes({ ...evaluation, rolled_back: [] }),
    `Engine: ${name} on ${device}, ${threads} threads, ${version}`,
  ];
}

/** What the detectors say of the metrics, stages that were taken back, teachers too weak to learn from. */
function warnings({ rows, evaluation }: RunRecord): string[] {
  const detectors = createDetectors();
  return [
    ...rows.flatMap((row) =>
      detectors.observe(row).map((warning) => `${row.stage}, step ${row.step}: ${warning}`)
    ),
    ...(evaluation?.rolled_back ?? []).map((stage) =>
      `${stage} lowered validation EM by more than ofsd.gate_margin and was rolled back`
    ),
    ...(evaluation?.teacher ?? []).filter(({ distilled }) => !distilled).map(({ stage, em, plain_em }) =>
      `${stage}: the teacher was too weak (EM ${fixed(em)} with the block, ${
        fixed(plain_em)
      } without), so nothing was distilled`
    ),
  ];
}
