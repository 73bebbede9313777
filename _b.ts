import { buildAtlas } from "./lib/world/atlas.ts";
import { sampleQuestions } from "./lib/world/atlas_questions.ts";
import { createBm25 } from "./lib/search/bm25.ts";
import { scriptedRollout } from "./lib/rollout/scripted_policies.ts";
const grid: [number,number,number][] = [];
for (const tw of [1.5]) for (const b of [.2,.75]) grid.push([1.2,b,tw]);
for (const [k1,b,titleWeight] of grid) {
  const out=[];
  for (const seed of ["real",1,2,3,4] as const) {
    const a=buildAtlas({seed}); const r=createBm25({documents:a.documents,k1,b,titleWeight});
    const qs=sampleQuestions(a,400,1,{split:"test"});
    for (const p of ["naive","efficient"] as const) {
      let em=0,s=0; const t0=performance.now();
      for (const q of qs) { const x=await scriptedRollout(p,q,r,1); if (x.answer===q.answers[0]) em++; s+=x.searches; }
      out.push(`${em/qs.length} ${(s/qs.length).toFixed(2)} ${((performance.now()-t0)/s).toFixed(2)}ms`);
    }
  }
  console.log(k1,b,titleWeight,out.join(" | "));
}
