/** Notebook files: their code as TypeScript, and their outputs as they are stored. */
import { InputError } from "../lib/base/input_error.ts";

/** What the kit reads of a notebook in nbformat 4. */
export interface Notebook {
  cells: Cell[];
  metadata: Record<string, unknown>;
  nbformat: number;
  nbformat_minor: number;
}

/** A cell; only code cells have outputs. */
export interface Cell {
  cell_type: "code" | "markdown" | "raw";
  id: string;
  metadata: Record<string, unknown>;
  source: string | string[];
  execution_count?: number | null;
  outputs?: Output[];
}

/** An output of a code cell. */
export interface Output {
  output_type: "stream" | "display_data" | "execute_result" | "error";
  data?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  text?: string | string[];
}

/**
 * Reads a notebook.
 *
 * @throws {InputError} when it is no JSON or no notebook.
 */
export async function readNotebook(path: string): Promise<Notebook> {
  const text = await Deno.readTextFile(path);
  try {
    const notebook = JSON.parse(text) as Notebook;
    if (notebook.nbformat === 4 && Array.isArray(notebook.cells)) return notebook;
  } catch {
    // Said below.
  }
  throw new InputError(`Cannot read ${path}: it is no notebook of nbformat 4; save it again with Jupyter`);
}

/** All code cells of a notebook as one module, each under a comment that names it, so that the type checker can read them. */
export function notebookCode({ cells }: Notebook): string {
  const parts = cells.flatMap(({ cell_type, source }, i) =>
    cell_type === "code" ? [`// cell ${i + 1}\n${[source].flat().join("")}\n`] : []
  );
  return [...parts, "export {};\n"].join("\n");
}

/**
 * The notebook with the outputs of an executed copy, as it is stored: plots as SVG without the data that they were drawn
 * from, no times, and its own metadata.
 *
 * @param privatePaths Texts that no output may hold, such as the folder that the kit stands in.
 * @throws {InputError} when an output holds one of them.
 */
export function withOutputs(
  notebook: Notebook,
  executed: Notebook,
  name: string,
  privatePaths: readonly string[],
): Notebook {
  const cells = notebook.cells.map((cell, i): Cell => {
    if (cell.cell_type !== "code") return cell;
    const { execution_count, outputs = [] } = executed.cells[i]!;
    const stored = outputs.map((output) => {
      if (!output.data) return output;
      const { "application/vnd.vegalite.v5+json": _, ...data } = output.data;
      return { ...output, data };
    });
    const text = JSON.stringify(stored);
    const path = privatePaths.find((path) => text.includes(path));
    if (path) {
      throw new InputError(
        `Cannot store the outputs of ${name}: cell ${
          i + 1
        } shows ${path}, a path of this machine; show it without`,
      );
    }
    return { ...cell, execution_count: execution_count ?? null, outputs: stored };
  });
  return { ...notebook, cells };
}
