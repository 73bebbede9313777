/** The whole-word tokenizer read by transformers' AutoTokenizer: same ids, same texts. */
import { assertEquals } from "@std/assert";
import { randomStream } from "../lib/base/random.ts";
import { loadTokenizer } from "../lib/model/tokenizer.ts";
import { demonstrations } from "../lib/rollout/demonstrators.ts";
import { createBm25 } from "../lib/search/bm25.ts";
import { buildAtlas } from "../lib/world/atlas.ts";
import { atlasTexts, buildWordTokenizer } from "../lib/world/world_tokenizer.ts";
import { pythonWith } from "./python.ts";

/** Spacing and punctuation that a user's corpus may hold. */
const odd = [
  "(s)he said (a) b).c",
  "x .5 a,b 3.5 e.g. the U.S.-based \"quoted text\" and 'x' $5 50% +55",
  " lead  two   spaces \n\n\n tab\tx ",
  "a: b; c! d? (Title:x) (Title:  x",
  "e\u0301 x\u0301, y",
  "<search> Osaka </search>\n\n<information></information>\n\n",
  "日本 は",
  "a<b>c <eos ..x ,y .z",
  '(.5) ".5" )x ).x _a_ -b- - c ##d',
  "South\u00a0America. ##,3 a#,3 \u0301,3 (Title:\n(Title: ",
];

Deno.test("buildWordTokenizer() is read by transformers as by @huggingface/tokenizers", async () => {
  const python = await pythonWith("transformers");
  if (!python) return;
  const world = buildAtlas({ seed: 1 });
  const notice = "\nMy previous action is invalid. Let me try again.\n";
  const made = await demonstrations({
    world,
    retriever: createBm25({ documents: world.documents }),
    count: 200,
    hintedShare: 0.5,
    seed: 1,
    topK: 3,
    notice,
  });
  const written = made.map(({ question, hint = "", segments }) =>
    `${question.question}\n${hint}${segments.map(({ text }) => text).join("")}`
  );
  const files = buildWordTokenizer([...atlasTexts(buildAtlas({ seed: "real" })), ...odd, notice]);
  const tokenizer = loadTokenizer(files);
  const random = randomStream("shuffled characters");
  const mixed = odd.map((text) => [...text].sort(() => random() - 0.5).join(""));
  const texts = [...atlasTexts(world), ...written, ...odd, ...mixed, "Zork is unknown, Zork."];

  const folder = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeTextFile(`${folder}/${name}`, content);
    }
    const script = decodeURIComponent(new URL("fixtures/check_tokenizer.py", import.meta.url).pathname);
    const child = new Deno.Command(python, {
      args: [script, folder],
      env: { HF_HUB_OFFLINE: "1", TRANSFORMERS_VERBOSITY: "error" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const input = child.stdin.getWriter();
    await input.write(new TextEncoder().encode(JSON.stringify(texts)));
    await input.close();
    const { success, stdout, stderr } = await child.output();
    assertEquals(success, true, new TextDecoder().decode(stderr));
    const theirs = JSON.parse(new TextDecoder().decode(stdout));

    const ids = texts.map((text) => tokenizer.encode(text));
    texts.forEach((text, i) => assertEquals(ids[i], theirs.ids[i], text));
    texts.forEach((text, i) => assertEquals(tokenizer.decode(ids[i]!), theirs.decoded[i], text));
    assertEquals(theirs.special, [tokenizer.padTokenId, tokenizer.eosTokenId, 2]);
    for (const text of [...written, ...odd]) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
