/** How cost grows with batch, length, model and corpus: the rows beyond the acceptance sizes, and their plots. @module */
import { weightShapes } from "../../lib/model/decoder.ts";
import type { ModelConfig } from "../../lib/model/policy.ts";
import { linePlot, type PlotSpec, renderSvg } from "../../lib/report/plots.ts";
import { acceptanceModel, generateJob, type Job, onOneThread, searchJob, trainJob } from "./jobs.ts";
import type { BenchRow } from "./measure.ts";

/** The growth rows by name. */
export const growthWorks = [
  "growth/batch",
  "growth/length",
  "growth/model",
  "growth/corpus",
  "growth/memory",
  "growth/threads",
] as const;

const long: ModelConfig = { ...acceptanceModel, max_position_embeddings: 1024 };

/** Models of 0.1, 0.9, 5, 30 and 135 million parameters; the last is shaped like SmolLM-135M. */
const models: ModelConfig[] = [
  sized(48, 2, 4, 4, 132, 1024),
  acceptanceModel,
  sized(256, 6, 4, 4, 704, 2048),
  sized(512, 8, 8, 8, 1408, 8192),
  sized(576, 30, 9, 3, 1536, 49152),
];

function sized(
  hidden_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
  num_key_value_heads: number,
  intermediate_size: number,
  vocab_size: number,
): ModelConfig {
  return {
    ...acceptanceModel,
    hidden_size,
    num_hidden_layers,
    num_attention_heads,
    num_key_value_heads,
    intermediate_size,
    vocab_size,
  };
}

/** The jobs of one growth row; a step's or call's seconds, not tokens a second. */
export function growthJobs(work: string): Job[] {
  const cost = (job: Job, of: string, more: Record<string, number> = {}): Job => ({
    ...job,
    shape: { of, ...job.shape, ...more },
    unit: "s",
  });
  switch (work) {
    case "growth/batch":
      return [
        ...[1, 2, 4, 8, 16, 32].map((B) => cost(trainJob(work, { B, T: 256 }, long), "train")),
        ...[1, 4, 16, 64, 128].map((B) =>
          cost(generateJob(work, { B, prompt: 16, new: 64 }, long), "generate")
        ),
      ];
    case "growth/length":
      return [
        ...[32, 64, 128, 256, 512, 1024].map((T) => cost(trainJob(work, { B: 4, T }, long), "train")),
        ...[16, 32, 64, 128, 256, 512].map((length) =>
          cost(generateJob(work, { B: 16, prompt: 16, new: length }, long), "generate")
        ),
      ];
    case "growth/model":
      return models.map((model) =>
        cost(trainJob(work, { B: 1, T: 64 }, model), "train", { parameters: parameters(model) })
      );
    case "growth/corpus":
      return [1000, 3000, 10_000, 30_000, 100_000].map((documents) => searchJob(work, documents));
    case "growth/memory": {
      const model = models.at(-1)!;
      const job = cost(trainJob(work, { B: 1, T: 64 }, model), "train", { parameters: parameters(model) });
      return [{ ...job, unit: "GiB", repetitions: 1 }];
    }
    case "growth/threads": {
      const job = generateJob(work, { B: 64, prompt: 16, new: 128 }, long);
      return [{ ...job, peer: onOneThread, repetitions: 61 }];
    }
    default:
      throw new RangeError(`Cannot measure ${work}: it is no growth row`);
  }
}

function parameters(model: ModelConfig): number {
  return Object.values(weightShapes(model)).reduce(
    (sum, shape) => sum + shape.reduce((product, n) => product * n, 1),
    0,
  );
}

const axes: Record<string, { title: string; x: string; of: (shape: BenchRow["shape"]) => number }> = {
  "growth/batch": { title: "Batch", x: "rows", of: ({ B }) => Number(B) },
  "growth/length": {
    title: "Length",
    x: "tokens of a row (train) or new tokens (generate)",
    of: (shape) => Number(shape.new ?? shape.T),
  },
  "growth/model": { title: "Model", x: "parameters", of: (shape) => Number(shape.parameters) },
  "growth/corpus": { title: "Corpus", x: "documents", of: ({ documents }) => Number(documents) },
};

/** Writes a plot for each growth that was measured, beside `out`: `bench.json` → `bench_growth_batch.svg` …; their names. */
export async function writeGrowthPlots(rows: readonly BenchRow[], out: string): Promise<string[]> {
  const written: string[] = [];
  for (const [work, { title, x, of }] of Object.entries(axes)) {
    const measured = rows.filter((row) => row.work === work);
    if (measured.length === 0) continue;
    const points = measured.flatMap(({ shape, ours, engine, peer, peer_value }) => {
      const task = shape.of === undefined ? "" : `${shape.of}, `;
      const at = of(shape);
      const mine = { x: at, y: ours, series: `${task}${engine}` };
      return peer_value === null ? [mine] : [mine, { x: at, y: peer_value, series: `${task}${peer}` }];
    });
    const y = measured[0]!.unit === "ms" ? "milliseconds a query" : "seconds a step or call";
    const plot = linePlot(points, { title: `${title}: what more of it costs`, x, y, points: true });
    const path = `${out.replace(/\.json$/, "")}_${work.replace("/", "_")}.svg`;
    await Deno.writeTextFile(path, await renderSvg(logarithmic(plot)));
    written.push(path);
  }
  return written;
}

/** The plot with logarithmic axes. */
function logarithmic(plot: PlotSpec): PlotSpec {
  return JSON.parse(
    JSON.stringify(plot),
    (key, value) =>
      (key === "x" || key === "y") && value?.type === "quantitative"
        ? { ...value, scale: { type: "log", nice: false } }
        : value,
  );
}
