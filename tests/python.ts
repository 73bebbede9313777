/** Finds a Python for the tests that compare with a real package. */

/**
 * The first of SEARCH_E1_PYTHON, `python3`, `python` that can import all modules; undefined, with the reason printed, when
 * none can.
 */
export async function pythonWith(...modules: string[]): Promise<string | undefined> {
  const candidates = [Deno.env.get("SEARCH_E1_PYTHON"), "python3", "python"];
  const probe = `import importlib.util, sys; sys.exit(not all(importlib.util.find_spec(m) for m in ${
    JSON.stringify(modules)
  }))`;
  for (const python of candidates) {
    if (!python) continue;
    try {
      const { success } = await new Deno.Command(python, {
        args: ["-c", probe],
        stdout: "null",
        stderr: "null",
      })
        .output();
      if (success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  console.log(
    `Skipped: no Python has ${modules.join(", ")}; pip install -r tests/fixtures/requirements.txt, ` +
      "or name one in SEARCH_E1_PYTHON",
  );
  return undefined;
}
