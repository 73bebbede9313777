/** Reads a run's settings: a TOML file and `--set` overrides, checked key by key before anything is computed. */
import { parse, stringify, TomlError } from "smol-toml";
import * as z from "zod";
import { InputError, nearestName } from "../base/input_error.ts";
import { configSchema, grpoPresets } from "./config_schema.ts";
import { refuseImpossible } from "./config_combinations.ts";

/** All settings of a run, every default filled in. */
export type Config = z.output<typeof configSchema>;

type Table = Record<string, unknown>;

/** One node of the JSON Schema that zod writes for `configSchema`: as much of it as messages and the reference need. */
export interface SchemaNode {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  properties?: Record<string, SchemaNode>;
  additionalProperties?: SchemaNode | boolean;
  items?: SchemaNode;
  anyOf?: SchemaNode[];
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
}

/**
 * The schema of the TOML file as JSON Schema.
 *
 * @example
 * ```ts
 * import { jsonSchema } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(jsonSchema.properties?.seed?.default, 1);
 * ```
 */
export const jsonSchema = z.toJSONSchema(configSchema, { io: "input" }) as SchemaNode;

/**
 * Reads a TOML file and applies `--set` overrides (`grpo.steps=10`) to it.
 *
 * @throws {InputError} for a missing file, bad TOML, an unknown key, a value out of range, an impossible combination.
 *
 * @example
 * ```ts
 * import { loadConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".toml" });
 * await Deno.writeTextFile(path, "[grpo]\nsteps = 20\n");
 * const config = await loadConfig(path, ["engine.name=wasm"]);
 * assertEquals([config.grpo.steps, config.engine.name], [20, "wasm"]);
 * ```
 */
export async function loadConfig(path: string, sets: readonly string[] = []): Promise<Config> {
  let content: string;
  try {
    content = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(
        `Cannot read the config ${path}: there is no such file; presets are in data/presets`,
      );
    }
    throw new InputError(`Cannot read the config ${path}: ${error instanceof Error ? error.message : error}`);
  }
  return parseConfig(content, path, sets);
}

/**
 * Checks TOML text and fills in defaults.
 *
 * @param name What error messages call the text, most often its path.
 * @param sets Overrides `a.b=value`; the value is TOML, or plain text where it is no TOML.
 * @throws {InputError} for bad TOML, an unknown key, a value out of range, an impossible combination.
 *
 * @example
 * ```ts
 * import { parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig("[grpo]\nsteps = [10, 6]", "run.toml", ["grpo.group_size=8"]);
 * assertEquals(config.grpo.group_size, 8);
 * assertEquals(config.grpo.beta, 0.001);
 * ```
 */
export function parseConfig(content: string, name: string, sets: readonly string[] = []): Config {
  const table = parseToml(content, name);
  const overridden: string[] = [];
  for (const set of sets) overridden.push(applySet(table, set));
  const origin = (path: string) =>
    overridden.some((key) => `${key}.`.startsWith(`${path}.`) || path.startsWith(`${key}.`))
      ? `--set ${path}`
      : name;
  refuseUnknownKeys(table, jsonSchema, [], origin);
  const result = configSchema.safeParse(withPreset(table));
  if (!result.success) throw new InputError(firstProblem(result.error.issues, table, origin));
  refuseImpossible(result.data, (path, problem) => {
    throw new InputError(`Cannot use ${origin(path)}: ${path} ${problem}`);
  });
  return result.data;
}

/**
 * The settings as TOML that `parseConfig` reads back to the same settings.
 *
 * @example
 * ```ts
 * import { configToToml, parseConfig } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const config = parseConfig("seed = 7", "run.toml");
 * assertEquals(parseConfig(configToToml(config), "again"), config);
 * ```
 */
export function configToToml(config: Config): string {
  return stringify(config) + "\n";
}

function parseToml(content: string, name: string): Table {
  try {
    return parse(content) as Table;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const problem = error.message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
    throw new InputError(`Cannot parse ${name} line ${error.line}: it is no TOML (${problem})`);
  }
}

/** Puts one override into the table and returns its key. */
function applySet(table: Table, set: string): string {
  const equals = set.indexOf("=");
  const key = set.slice(0, Math.max(equals, 0)).trim();
  if (!/^[\w-]+(\.[\w-]+)*$/.test(key)) {
    throw new InputError(`Cannot read --set ${set}: write it as key=value, such as grpo.steps=10`);
  }
  const parts = key.split(".");
  let inner = table;
  for (const [i, part] of parts.slice(0, -1).entries()) {
    const next = (inner[part] ??= {});
    if (!isTable(next)) {
      throw new InputError(`Cannot use --set ${set}: ${parts.slice(0, i + 1).join(".")} is no section`);
    }
    inner = next;
  }
  inner[parts.at(-1)!] = tomlValue(set.slice(equals + 1).trim());
  return key;
}

function tomlValue(text: string): unknown {
  try {
    return (parse(`value = ${text}`) as Table).value;
  } catch {
    return text;
  }
}

/** The table with the keys of `grpo.preset` under those that it sets itself. */
function withPreset(table: Table): Table {
  const grpo = table.grpo;
  if (!isTable(grpo)) return table;
  const preset = grpoPresets[String(grpo.preset ?? "search-r1")] ?? {};
  return { ...table, grpo: { ...preset, ...grpo } };
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function refuseUnknownKeys(
  value: unknown,
  node: SchemaNode,
  path: string[],
  origin: (path: string) => string,
) {
  if (Array.isArray(value)) {
    for (const item of value) if (node.items) refuseUnknownKeys(item, node.items, path, origin);
    return;
  }
  if (!isTable(value) || !node.properties) return;
  for (const [key, inner] of Object.entries(value)) {
    const child = node.properties[key];
    const full = [...path, key];
    if (child) refuseUnknownKeys(inner, child, full, origin);
    else throw new InputError(unknownKey(full, Object.keys(node.properties), origin));
  }
}

function unknownKey(path: string[], siblings: string[], origin: (path: string) => string): string {
  const parent = path.slice(0, -1);
  const name = path.at(-1)!;
  const near = nearestName(name, siblings);
  // A key in the wrong section is more often misplaced than misspelt.
  const elsewhere = Object.entries(jsonSchema.properties!)
    .filter(([, node]) => node.properties && name in node.properties).map(([key]) => `${key}.${name}`);
  const meant = near ? [...parent, near].join(".") : elsewhere[0];
  const fix = meant ? `did you mean ${meant}?` : `known here: ${siblings.join(", ")}`;
  return `Cannot use ${origin(path.join("."))}: unknown key ${path.join(".")}; ${fix}`;
}

function firstProblem(issues: z.core.$ZodIssue[], table: Table, origin: (path: string) => string): string {
  const path = issues[0]!.path.map(String);
  const key = path.join(".");
  const missing = valueAt(table, path) === undefined;
  const what = missing ? `${key} is missing` : `${key} = ${quote(valueAt(table, path))} is not allowed`;
  return `Cannot use ${origin(key)}: ${what}; give ${allowed(nodeAt(path))}`;
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, part) => (inner as Table | undefined)?.[part], value);
}

function nodeAt(path: readonly string[]): SchemaNode {
  let node = jsonSchema;
  for (const part of path) {
    const next = node.properties?.[part] ?? node.items ??
      (typeof node.additionalProperties === "object" ? node.additionalProperties : undefined);
    if (!next) return node;
    node = next;
  }
  return node;
}

function quote(value: unknown): string {
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value, (_, inner) => typeof inner === "bigint" ? String(inner) : inner);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/**
 * What a key may hold, in words: `an integer of at least 2`.
 *
 * @example
 * ```ts
 * import { allowed } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(allowed({ type: "integer", minimum: 2 }), "an integer of at least 2");
 * ```
 */
export function allowed(node: SchemaNode): string {
  if (node.anyOf) return node.anyOf.map(allowed).join(", or ");
  if (node.enum) return `one of ${node.enum.map((value) => JSON.stringify(value)).join(", ")}`;
  if (node.type === "array") {
    const size = node.minItems !== undefined && node.minItems === node.maxItems
      ? `${node.minItems} items`
      : "items";
    return `a list of ${size}, each ${allowed(node.items ?? {})}`;
  }
  if (node.type === "object") return node.properties ? "a section" : "a section of name = path";
  if (node.type === "boolean") return "true or false";
  if (node.type === "string") return "a text in quotes";
  const kind = node.type === "integer" ? "an integer" : "a number";
  const least = node.minimum !== undefined && node.minimum > -1e15 ? node.minimum : undefined;
  const most = node.maximum !== undefined && node.maximum < 1e15 ? node.maximum : undefined;
  if (least !== undefined && most !== undefined) return `${kind} from ${least} to ${most}`;
  if (least !== undefined) return `${kind} of at least ${least}`;
  if (node.exclusiveMinimum !== undefined) return `${kind} above ${node.exclusiveMinimum}`;
  return kind;
}
