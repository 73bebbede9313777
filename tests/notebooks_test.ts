/** Notebooks as files: the code that is type-checked, and what may be stored of their outputs. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../lib/base/input_error.ts";
import { type Notebook, notebookCode, readNotebook, withOutputs } from "../tasks/notebook_files.ts";
import { runTask } from "./task_process.ts";

const notebook: Notebook = {
  cells: [
    { cell_type: "markdown", id: "a", metadata: {}, source: ["# Title\n"] },
    {
      cell_type: "code",
      id: "b",
      metadata: {},
      source: ["const x = 1;\n", "x;"],
      execution_count: null,
      outputs: [],
    },
    { cell_type: "code", id: "c", metadata: {}, source: "console.log(x);" },
  ],
  metadata: { kernelspec: { name: "deno" } },
  nbformat: 4,
  nbformat_minor: 5,
};

function executedWith(data: Record<string, unknown>): Notebook {
  const executed = structuredClone(notebook);
  executed.cells[1]!.execution_count = 1;
  executed.cells[1]!.outputs = [{ output_type: "display_data", data, metadata: {} }];
  executed.metadata = { language_info: { version: "9" } };
  return executed;
}

Deno.test("notebookCode() is one module of all code cells, each named", () => {
  assertEquals(
    notebookCode(notebook),
    "// cell 2\nconst x = 1;\nx;\n\n// cell 3\nconsole.log(x);\n\nexport {};\n",
  );
});

Deno.test("withOutputs() keeps pictures and the notebook's own metadata, and leaves a plot's data out", () => {
  const executed = executedWith({
    "application/vnd.vegalite.v5+json": { data: [1] },
    "image/svg+xml": "<svg/>",
  });
  const stored = withOutputs(notebook, executed, "x.ipynb", ["/kit/"]);
  assertEquals(stored.cells[1]!.outputs![0]!.data, { "image/svg+xml": "<svg/>" });
  assertEquals(stored.cells[1]!.execution_count, 1);
  assertEquals(stored.metadata, notebook.metadata);
});

Deno.test("withOutputs() refuses an output that shows a path of the machine", () => {
  const executed = executedWith({ "text/plain": ["/kit/runs/demo"] });
  assertThrows(
    () => withOutputs(notebook, executed, "x.ipynb", ["/kit/"]),
    InputError,
    "cell 2 shows /kit/, a path of this machine",
  );
});

Deno.test("the notebooks are nine, hold outputs without errors, and carry no path of a machine", async () => {
  const names = [...Deno.readDirSync("notebooks")].map(({ name }) => name).filter((name) =>
    name.endsWith(".ipynb")
  );
  assertEquals(names.sort().map((name) => name.slice(0, 2)), "01 02 03 04 05 06 07 08 09".split(" "));
  for (const name of names) {
    const { cells } = await readNotebook(`notebooks/${name}`);
    const outputs = cells.flatMap(({ outputs = [] }) => outputs);
    assert(outputs.some(({ data }) => data?.["image/svg+xml"]), `${name} stores no picture`);
    assert(outputs.every(({ output_type }) => output_type !== "error"), `${name} stores an error`);
    const text = JSON.stringify(outputs);
    assertEquals(
      text.match(/\/(home|root|work|tmp|Users)\/[\w.-]+/)?.[0],
      undefined,
      `${name} stores a path`,
    );
    assert(
      cells.some(({ source }) => /\bassert\w*\(/.test([source].flat().join(""))),
      `${name} asserts nothing`,
    );
  }
});

Deno.test("deno task notebooks names what it cannot use", async () => {
  for (
    const [args, said] of [
      [["--preset", "tiny"], "Cannot use --preset tiny: it is smoke or full"],
      [["--write"], "Cannot use --write with --preset smoke"],
      [["--only", "77"], "Cannot find a notebook 77"],
      [["--folder", "no_such"], "there is no folder no_such"],
    ] as const
  ) {
    const { code, stderr } = await runTask("notebooks", ...args);
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, said);
  }
});
