/** What all tasks share: flags, `--help`, one-line errors. */
import { parseArgs } from "@std/cli";
import { InputError, nearestName } from "../lib/base/input_error.ts";

/** A flag: a switch, one text, or a text that may be given several times; `words` takes what stands behind no flag. */
export interface Flag {
  kind: "switch" | "text" | "list" | "words";
  about: string;
  /** What the help shows for the value: `FILE`. */
  value?: string;
}

/** Texts and switches by flag name. */
export type FlagValues<F extends Record<string, Flag>> = {
  [K in keyof F]: F[K]["kind"] extends "switch" ? boolean
    : F[K]["kind"] extends "list" | "words" ? string[]
    : string | undefined;
};

/** Flags that several tasks have. */
export const commonFlags = {
  config: {
    kind: "text",
    value: "FILE",
    about: "TOML file with the settings (see data/presets and docs/config.md)",
  },
  set: {
    kind: "list",
    value: "KEY=VALUE",
    about: "Override one setting, such as grpo.steps=20; may be repeated",
  },
  seed: { kind: "text", value: "N", about: "Short for --set seed=N" },
  engine: {
    kind: "text",
    value: "NAME",
    about: "auto, tensorflow, webgpu, wasm or cpu; short for --set engine.name=NAME",
  },
  out: { kind: "text", value: "FOLDER", about: "Run folder" },
} as const satisfies Record<string, Flag>;

/**
 * Runs a task: parses its flags, prints its help, turns bad input into one line and exit code 2.
 *
 * @param main Does the work and returns the exit code.
 */
export async function runTask<F extends Record<string, Flag>>(
  name: string,
  about: string,
  flags: F,
  main: (flags: FlagValues<F>) => Promise<number>,
): Promise<void> {
  const verbose = Deno.args.includes("--verbose");
  try {
    if (Deno.args.includes("--help") || Deno.args.includes("-h")) {
      console.log(helpText(name, about, flags));
      return;
    }
    Deno.exitCode = await main(parseFlags(name, flags, Deno.args.filter((arg) => arg !== "--verbose")));
  } catch (error) {
    if (error instanceof InputError) {
      console.error(verbose ? error.stack : `error: ${error.message}`);
      Deno.exit(2);
    }
    const message = error instanceof Error ? error.message : String(error);
    console.error(
      verbose && error instanceof Error ? error.stack : `error: ${message} (--verbose shows where)`,
    );
    Deno.exit(1);
  }
}

/**
 * Parses flags.
 *
 * @throws {InputError} for an unknown flag, a missing value, and words that belong to no flag.
 */
export function parseFlags<F extends Record<string, Flag>>(
  name: string,
  flags: F,
  args: string[],
): FlagValues<F> {
  const ofKind = (...kinds: string[]) => Object.keys(flags).filter((key) => kinds.includes(flags[key]!.kind));
  const [words] = ofKind("words");
  const parsed = parseArgs(args, {
    boolean: ofKind("switch"),
    string: [...ofKind("text", "list"), "_"],
    collect: ofKind("list"),
    unknown: (arg, key) => {
      if (key === undefined && words !== undefined) return true;
      const known = ofKind("switch", "text", "list");
      const near = key === undefined ? undefined : nearestName(key, known);
      if (key === undefined) {
        throw new InputError(`Cannot use ${arg}: deno task ${name} takes flags only; see --help`);
      }
      const fix = near
        ? `did you mean --${near}?`
        : known.length === 0
        ? "it takes none"
        : `known are ${known.map((flag) => `--${flag}`).join(", ")}` +
          (words === undefined ? "" : `, and ${flags[words]!.value} without a flag`);
      throw new InputError(`Cannot use ${arg}: unknown flag of deno task ${name}; ${fix}`);
    },
  });
  for (const key of ofKind("text", "list")) {
    const given = [parsed[key] ?? []].flat();
    if (given.includes("")) {
      throw new InputError(`Cannot use --${key}: give a value, --${key} ${flags[key]!.value}`);
    }
  }
  return { ...parsed, ...(words !== undefined && { [words]: parsed._ }) } as unknown as FlagValues<F>;
}

/**
 * The run folder that the words of a command line name; `runs/demo` without words.
 *
 * @throws {InputError} when there are several words.
 */
export function runFolder(name: string, words: readonly string[]): string {
  if (words.length > 1) {
    throw new InputError(`Cannot use ${words[1]}: deno task ${name} takes one run folder; see --help`);
  }
  return (words[0] ?? "runs/demo").replace(/\/+$/, "");
}

/** Overrides that the common flags stand for, in the order in which they apply. */
export function settings(
  flags: { set?: string[]; seed?: string | undefined; engine?: string | undefined },
): string[] {
  return [
    ...flags.set ?? [],
    ...(flags.seed === undefined ? [] : [`seed=${flags.seed}`]),
    ...(flags.engine === undefined ? [] : [`engine.name=${flags.engine}`]),
  ];
}

/** A command line as the user can type it again: by npx where Deno came with it, words quoted where a shell needs it. */
export function typedCommand(...words: string[]): string {
  const deno = Deno.env.get("npm_command") === "exec" ? ["npx", "-y", `deno@${Deno.version.deno}`] : ["deno"];
  return [...deno, "task", ...words].map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  ).join(" ");
}

function helpText(name: string, about: string, flags: Record<string, Flag>): string {
  const rows = Object.entries({
    ...flags,
    verbose: { kind: "switch", about: "Show where an error came from" } as Flag,
    help: { kind: "switch", about: "Show this text" } as Flag,
  }).map(([key, flag]) => {
    const left = flag.kind === "words" ? flag.value : `--${key}${flag.value ? ` ${flag.value}` : ""}`;
    return [`  ${left}`, flag.about] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return [`deno task ${name}`, "", about, "", ...rows.map(([left, right]) => left.padEnd(width) + right)]
    .join("\n");
}
