/** The reference of all config keys, generated from the schema. @module */
import { allowed, jsonSchema, type SchemaNode } from "../run/config.ts";
import { grpoPresets } from "../run/config_schema.ts";
import { markdownTable, wrapped } from "./tables.ts";

/**
 * The page `docs/config.md`: every section and key with what it does, what it may hold and its default.
 *
 * @example
 * ```ts
 * import { configReference } from "@search-e1/kit";
 * import { assertStringIncludes } from "@std/assert";
 *
 * assertStringIncludes(configReference(), "## [grpo]");
 * ```
 */
export function configReference(): string {
  const entries = Object.entries(jsonSchema.properties!);
  const sections = entries.filter(([, node]) => node.properties);
  const trl = Object.entries(grpoPresets.trl!).map(([key, value]) => `\`${key} = ${JSON.stringify(value)}\``);
  return `# Settings of a run

${
    wrapped(
      "A run's settings are a TOML file (`--config FILE`) with overrides (`--set section.key=value`). Every key has a " +
        "default. Paths are relative to the folder in which the task runs. This page is written by `deno task docs` " +
        "from lib/run/config_schema.ts.",
    )
  }

## Top level

${keyTable(entries.filter(([, node]) => !node.properties))}

${sections.map(([name, node]) => sectionText(name, node)).join("\n\n")}

## [[sft.phases]]

${keyTable(Object.entries(jsonSchema.properties!.sft!.properties!.phases!.items!.properties!))}

## grpo.preset

${wrapped(`\`grpo.preset = "trl"\` changes these defaults: ${trl.join(", ")}.`)}
`;
}

function sectionText(name: string, node: SchemaNode): string {
  return `## [${name}]\n\n${wrapped(`${node.description}.`)}\n\n${
    keyTable(Object.entries(node.properties!))
  }`;
}

function keyTable(entries: [string, SchemaNode][]): string {
  const rows = entries.map((
    [key, node],
  ) => [`\`${key}\``, node.description ?? "", allowed(node), defaultText(node)]);
  return markdownTable([["key", "what it does", "allowed", "default"], ...rows], "text");
}

function defaultText(node: SchemaNode): string {
  if (node.default === undefined) return "none";
  const text = JSON.stringify(node.default);
  return text.length > 60 ? "see lib/run/config_schema.ts" : `\`${text}\``;
}
