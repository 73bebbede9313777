import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { groupAdvantages } from "./advantage.ts";

const reward = fc.oneof(fc.constantFrom(0, 1, 0.1, NaN), fc.double({ min: -5, max: 5, noNaN: true }));
const trajectories = fc.array(fc.record({ questionId: fc.constantFrom("a", "b", "c"), reward }), {
  minLength: 1,
});
const scaleRewards = fc.constantFrom("group" as const, "batch" as const, "none" as const);

Deno.test("groupAdvantages() sums to 0 in every group and is finite", () => {
  fc.assert(fc.property(trajectories, scaleRewards, (trajectories, scaleRewards) => {
    const { advantages } = groupAdvantages(trajectories, { scaleRewards, epsilon: 1e-4 });
    for (const id of ["a", "b", "c"]) {
      const group = advantages.filter((_, i) => trajectories[i]!.questionId === id);
      assertAlmostEquals(group.reduce((sum, value) => sum + value, 0), 0, 1e-8);
      assert(group.every(Number.isFinite));
    }
  }));
});

Deno.test("groupAdvantages() orders a group as its rewards do", () => {
  fc.assert(fc.property(trajectories, scaleRewards, (trajectories, scaleRewards) => {
    const { advantages } = groupAdvantages(trajectories, { scaleRewards, epsilon: 1e-6 });
    trajectories.forEach((a, i) =>
      trajectories.forEach((b, j) => {
        if (a.questionId === b.questionId && a.reward > b.reward) assert(advantages[i]! >= advantages[j]!);
      })
    );
  }));
});

Deno.test("groupAdvantages() gives exactly 0 to equal rewards and names their groups", () => {
  fc.assert(
    fc.property(
      fc.double({ min: -5, max: 5, noNaN: true }),
      fc.integer({ min: 1, max: 9 }),
      (reward, size) => {
        const group = Array.from({ length: size }, () => ({ questionId: "a", reward }));
        const other = [{ questionId: "b", reward: 0 }, { questionId: "b", reward: 1 }];
        const out = groupAdvantages([...group, ...other], { scaleRewards: "group", epsilon: 1e-6 });
        assertEquals(out.advantages.slice(0, size), group.map(() => 0));
        assertEquals([out.zeroStdGroups, out.fracRewardZeroStd], [["a"], 0.5]);
      },
    ),
  );
});

Deno.test("groupAdvantages() has unit unbiased deviation in a group without epsilon", () => {
  const out = groupAdvantages([3, 1, 1, 7].map((reward) => ({ questionId: "a", reward })), {
    scaleRewards: "group",
    epsilon: 0,
  });
  assertAlmostEquals(out.advantages.reduce((sum, value) => sum + value * value, 0) / 3, 1);
});
