import { InputError } from "../base/input_error.ts";
import { readJsonLines, shown, textAt } from "../base/json_lines.ts";
import type { Document } from "./retriever.ts";

/**
 * Reads a corpus in Search-R1's form: JSON lines of `{id, contents}`, contents = the title line, then the text.
 *
 * @throws {InputError} when the file is missing or empty, or a row lacks a key or repeats an id.
 *
 * @example
 * ```ts
 * import { readCorpus } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".jsonl" });
 * const row = { id: "7", contents: '"Japan"\nThe capital of Japan is Tokyo.' };
 * await Deno.writeTextFile(path, JSON.stringify(row) + "\n");
 * assertEquals(await readCorpus(path), [row]);
 * await Deno.remove(path);
 * ```
 */
export async function readCorpus(path: string): Promise<Document[]> {
  const seen = new Set<string>();
  return (await readJsonLines(path)).map((row) => {
    const id = textAt(row, "id");
    const contents = textAt(row, "contents");
    if (id === undefined) {
      throw new InputError(`${row.complaint}: "id" is missing; give every document its own`);
    }
    if (contents === undefined) {
      throw new InputError(
        `${row.complaint}: "contents" is missing; write the title, a newline and the text there`,
      );
    }
    if (seen.has(id)) {
      throw new InputError(`${row.complaint}: "id" ${shown(id)} stands twice; give every document its own`);
    }
    seen.add(id);
    return { id, contents };
  });
}
