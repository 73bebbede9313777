import { Tokenizer } from "@huggingface/tokenizers";
import { buildAtlas } from "./lib/world/atlas.ts";
import { createBm25 } from "./lib/search/bm25.ts";
import { demonstrations, rehearsals } from "./lib/rollout/demonstrators.ts";
import { atlasTexts, buildWordTokenizer } from "./lib/world/world_tokenizer.ts";
const world=buildAtlas({seed:1}), retriever=createBm25({documents:world.documents});
const notice="\nMy previous action is invalid. Let me try again.\n";
const f=buildWordTokenizer([...atlasTexts(buildAtlas({seed:"real"})),notice]);
const t = new Tokenizer(JSON.parse(f["tokenizer.json"]!), JSON.parse(f["tokenizer_config.json"]!));
console.log(Object.keys(JSON.parse(f["tokenizer.json"]!).model.vocab).length);
const t0=performance.now();
const ds=await demonstrations({world,retriever,count:2000,hintedShare:0.4,seed:1,topK:1,notice});
console.log("ms",performance.now()-t0);
const rel=["city","country","capital","currency","language","continent"];
let em=0,s=0,n=0,q=0,two=0,twoT=0,bad=0,len=0,inv=0,hl=0,hn=0; const lens:number[]=[];
for (const d of ds) {
  const x=d.question.question+"\n"+(d.hint??"")+d.segments.map(x=>x.text).join("");
  const ids=t.encode(x).ids; if (t.decode(ids)!==x) {bad++; if (bad<3) console.log(JSON.stringify(x),JSON.stringify(t.decode(ids)));}
  const ids2=[d.question.question+"\n",d.hint??"",...d.segments.map(x=>x.text)].flatMap(y=>y?t.encode(y).ids:[]); if (ids2.join()!==ids.join()) console.log("segment join differs");
  if (d.hint) {hl+=t.encode(d.hint).ids.length; hn++; continue;}
  n++; lens.push(ids.length);
  if (d.segments.at(-1)!.text===`<answer>${d.question.answers[0]}</answer>`) em++;
  let anyTwo=false;
  const chain=(d.question as any).chain; const path=[chain.start,...chain.values];
  for (const g of d.segments) { const m=/^<search>(.*)<\/search>/.exec(g.text); if (m) { s++; const [e,r]=m[1]!.split(" "); if (r) { const i=path.indexOf(e!); if (chain.relations.indexOf(r)===i+1) {two++;anyTwo=true;} } } else if (/<\/search>$/.test(g.text)) inv++; }
  if (anyTwo) twoT++;
}
console.log({n,em:em/n,searches:s/n,two:two/s,twoT:twoT/n,inv:inv/n,bad,meanLen:lens.reduce((a,b)=>a+b)/n,max:Math.max(...lens),hint:hl/hn});
for (const d of ds.slice(0,14)) console.log(d.question.question, "|", d.hint??"", "|", d.segments.map(x=>x.role[0]+":"+x.text).join(""),"\n");
