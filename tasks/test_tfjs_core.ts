/**
 * `deno task test:tfjs-core`: tfjs-core's own tests, as its package ships them, on the engine tensorflow.
 *
 * They are jasmine specs in modules written for a bundler: a hook completes their import paths, and a global `require`
 * answers for CommonJS. They import tfjs-core file by file where the engine imports it as one file of the same package;
 * both use the one engine, the one list of kernels and the one class Tensor that tfjs keeps on the global object.
 */
import { existsSync } from "node:fs";
import module from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import jasmineCore from "jasmine-core";
import { ensureLibtensorflow } from "../lib/engine/install.ts";
import { openEngine } from "../lib/engine/open_engine.ts";
import { runTask } from "./command_line.ts";

/** Specs that fail because of a bug in libtensorflow, by full name, and the bug. */
const knownFailures: Readonly<Record<string, string>> = {
  "round test-tensorflow {} int32":
    "Round gives zeros for int32 in libtensorflow 2.17 and later (tensorflow/tensorflow#74789)",
};

/** What jasmine tells about a spec or a suite, as far as it is used here. */
interface JasmineResult {
  fullName: string;
  status: "passed" | "failed" | "excluded" | "pending";
  failedExpectations: { message: string }[];
}

await runTask("test:tfjs-core", "Runs tfjs-core's own tests on the engine tensorflow.", {}, async () => {
  const started = performance.now();
  await ensureLibtensorflow();
  // Left alone, libtensorflow uses oneDNN's kernels, which do more than its own, only where a processor has AVX-512.
  Deno.env.set("TF_ENABLE_ONEDNN_OPTS", "1");
  const engine = await openEngine({ engine: "tensorflow" });
  console.log(`Engine: ${engine.report}`);

  const exclusions = await tfjsNodeExclusions();
  const env = await loadSpecs();
  const specs: JasmineResult[] = [];
  const failedSuites: JasmineResult[] = [];
  env.configure({
    random: false,
    specFilter: (spec: { getFullName(): string }) =>
      !exclusions.some((part) => spec.getFullName().includes(part)),
  });
  env.clearReporters();
  env.addReporter({
    specDone: (spec: JasmineResult) => specs.push(spec),
    suiteDone: (suite: JasmineResult) => suite.status === "failed" && failedSuites.push(suite),
  });
  await env.execute();
  engine.close();

  const count = (status: JasmineResult["status"]) => specs.filter((spec) => spec.status === status).length;
  const failed = [...specs.filter((spec) => spec.status === "failed"), ...failedSuites];
  for (const { fullName, failedExpectations } of failed) {
    const reason = knownFailures[fullName];
    console.log(`${reason === undefined ? "FAILED" : "failed, as known"}: ${fullName}`);
    if (reason !== undefined) console.log(`  ${reason}`);
    for (const { message } of failedExpectations) console.log(`  ${message.split("\n")[0]}`);
  }
  for (const { fullName } of specs.filter((spec) => spec.status === "passed")) {
    if (fullName in knownFailures) console.log(`passed, though known to fail: ${fullName}`);
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(
    `${count("passed")} passed, ${failed.length} failed, ${count("excluded")} excluded as in tfjs-node, ` +
      `${count("pending")} switched off by tfjs-core; ${seconds} s`,
  );
  return count("passed") > 0 && failed.every(({ fullName }) => fullName in knownFailures) ? 0 : 1;
});

/** Parts of the names of specs that tfjs-node leaves out, from the test runner in the package that the engine uses. */
async function tfjsNodeExclusions(): Promise<string[]> {
  const runner = new URL(import.meta.resolve("@tensorflow/tfjs-node-gpu/dist/run_tests.js"));
  const lines = (await Deno.readTextFile(runner)).split("\n").map((line) => line.trim());
  const first = lines.indexOf("var IGNORE_LIST = [") + 1;
  return lines.slice(first, lines.indexOf("];", first))
    .flatMap((line) => /^'(.*)',?$/.exec(line)?.[1] ?? []);
}

/** Imports all specs of the tfjs-core that the engine uses; returns jasmine's environment, which holds them. */
async function loadSpecs() {
  const tfjs = module.createRequire(import.meta.resolve("@tensorflow/tfjs"));
  const core = new URL(".", pathToFileURL(tfjs.resolve("@tensorflow/tfjs-core")));
  // A CommonJS function whose properties Deno does not list as names to import.
  const seedrandom = `data:text/javascript,import seedrandom from "${import.meta.resolve("seedrandom")}";
    export const alea = seedrandom.alea;`;
  module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier === "seedrandom") return { url: seedrandom, shortCircuit: true };
      if (specifier.startsWith("jasmine-core/")) {
        return next(fileURLToPath(import.meta.resolve("jasmine-core")), context);
      }
      if (!specifier.startsWith(".") || !context.parentURL?.startsWith(core.href)) {
        return next(specifier, context);
      }
      const isFile = existsSync(new URL(`${specifier}.js`, context.parentURL));
      return next(`${specifier}${isFile ? ".js" : "/index.js"}`, context);
    },
  });
  Object.assign(globalThis, { require: module.createRequire(core) });

  const jasmine = jasmineCore.boot(jasmineCore);
  jasmine.DEFAULT_TIMEOUT_INTERVAL = 20_000; // ms, as tfjs-core sets it
  const load = (path: string) => import(new URL(path, core).href);
  const { setTestEnvs } = await load("jasmine_util.js");
  setTestEnvs([{ name: "test-tensorflow", backendName: "tensorflow", flags: {}, isDataSync: true }]);
  await load("public/chained_ops/register_all_chained_ops.js");
  await load("register_all_gradients.js");
  await load("tests.js");
  return jasmine.getEnv();
}
