import { Tokenizer } from "@huggingface/tokenizers";
import { buildAtlas } from "./lib/world/atlas.ts";
import { atlasTexts, buildWordTokenizer } from "./lib/world/world_tokenizer.ts";
const a = buildAtlas({seed:"real"}), b = buildAtlas({seed:5});
const odd = ["(s)he said (a) b).c", "x .5 a,b 3.5 e.g. the U.S.-based \"quoted text\" and 'x' $5 50% +55", " lead  two   spaces \n\n\n tab\tx ", "a: b; c! d? (Title:x) (Title:  x", "e\u0301 x\u0301, y", "<search> Osaka </search>\n\n<information></information>\n\n","\nMy previous action is invalid. Let me try again.\n", "日本 は", "a<b>c <eos", "..x ,y", "(.5) \".5\" )x ).x", "_a_ -b- - c", "a ."," "];
const f = buildWordTokenizer([...atlasTexts(a), ...odd]);
const g = buildWordTokenizer([...atlasTexts(b), ...odd]);
console.log("same vocabulary", f["tokenizer.json"]===g["tokenizer.json"]);
const t = new Tokenizer(JSON.parse(f["tokenizer.json"]!), JSON.parse(f["tokenizer_config.json"]!));
console.log(Object.keys(JSON.parse(f["tokenizer.json"]!).model.vocab).length);
const texts=[...atlasTexts(a),...odd, "Zork Osaka zork.",".x y",":x", ...a.documents.slice(0,50).map(d=>`\n\n<information>${"Doc 1(Title: "+d.contents.replace("\n",") ")}</information>\n\n<search>Osaka country</search>`)];
let bad=0; const ids=[];
for (const x of texts) { const e=t.encode(x).ids; ids.push(e); const d=t.decode(e, {skip_special_tokens:false}); if (d!==x) { bad++; if (bad<20) console.log(JSON.stringify(x),JSON.stringify(d), t.encode(x).tokens); } }
console.log(texts.length,bad);
Deno.mkdirSync("/tmp/w4/tok",{recursive:true});
for (const [k,v] of Object.entries(f)) Deno.writeTextFileSync("/tmp/w4/tok/"+k,v);
Deno.writeTextFileSync("/tmp/w4/ids.json", JSON.stringify({texts,ids,decoded:ids.map(e=>t.decode(e))}));
console.log(t.encode('<search>Osaka country</search>\n\n<information>Doc 1(Title: "Osaka") Osaka lies in the country Japan.</information>\n\n<answer>Japan</answer>').tokens);
