/** The documentation of what mod.ts exports, as `deno doc` reads it; `deno test --doc` runs the examples themselves. */
import { assert, assertEquals } from "@std/assert";

interface Declaration {
  kind: string;
  location: { filename: string; line: number };
  jsDoc?: { doc?: string; tags?: { kind: string; doc?: string }[] };
}

interface Documented {
  nodes: Record<
    string,
    { module_doc?: Declaration["jsDoc"]; symbols: { name: string; declarations: Declaration[] }[] }
  >;
}

const root = new URL("../", import.meta.url);
/** What an example has to be of any use: the public name, and an assertion. */
const isRunnable = (example: string) =>
  /```ts\n[^]*from "@search-e1\/kit"[^]*from "@std\/assert"[^]*\bassert/.test(example);

async function publicModule() {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", "mod.ts"],
    cwd: root,
    stdin: "null",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout)) as Documented;
  return Object.values(nodes)[0]!;
}

const examplesOf = (doc: Declaration["jsDoc"]) =>
  (doc?.tags ?? []).filter(({ kind }) => kind === "example").map(({ doc = "" }) => doc);

Deno.test("mod.ts opens with a tour that asserts", async () => {
  const { module_doc } = await publicModule();
  assert(examplesOf(module_doc).some(isRunnable));
});

Deno.test("mod.ts exports nothing without a sentence, and no value without an example that asserts", async () => {
  const { symbols } = await publicModule();
  assert(symbols.length > 100);
  const found: string[] = [];
  for (const { name, declarations } of symbols) {
    for (const { kind, jsDoc, location } of declarations) {
      const where = `${name} (${location.filename.slice(root.href.length)}:${location.line})`;
      if (!/[.:]$/m.test(jsDoc?.doc?.trim() ?? "")) found.push(`${where} has no sentence`);
      const isValue = kind === "function" || kind === "class" || kind === "variable";
      if (isValue && !examplesOf(jsDoc).some(isRunnable)) found.push(`${where} has no example that asserts`);
    }
  }
  assertEquals(found, []);
});
