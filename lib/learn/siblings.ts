/**
 * Sibling choice of Search-E1 (arXiv 2605.22511): among the policy's own roll-outs of a question, the efficient correct one
 * that the teacher is shown, and the worse ones that the student learns on.
 *
 * @module
 */
import { modelTokenCount, searchCount, type Trajectory } from "../rollout/trajectory.ts";

/** What is paired. */
export interface SiblingOptions {
  /** Most student trajectories kept of one question. */
  pairsPerQuestion: number;
  /** Also pair correct trajectories that have the sibling's searches and more tokens. */
  sameSearchesMoreTokens: boolean;
}

/** A sibling and one worse trajectory of the same question. */
export interface SiblingPair {
  questionId: string;
  sibling: Trajectory;
  student: Trajectory;
  /** Searches of the student trajectory less those of the sibling; negative for a wrong one that searched less. */
  searchGap: number;
  /** Return of the sibling less that of the student trajectory; see `returnOf`. */
  returnGap: number;
}

/** The pairs, and what became of every question and trajectory. */
export interface SiblingChoice {
  pairs: SiblingPair[];
  counts: {
    questions: number;
    /** Questions that gave at least one pair. */
    groupsKept: number;
    /** Questions dropped: no correct trajectory; or a sibling, but none worse. */
    withoutSibling: number;
    withoutWorse: number;
    /** Trajectories of kept questions that were left out: as good as the sibling; or beyond `pairsPerQuestion`. */
    notWorse: number;
    overLimit: number;
  };
}

/** What one search costs in the return, in units of a correct answer. */
const searchCost = 0.1;

/**
 * The return by which a sibling is compared with a student trajectory: 1 for a correct answer, less .1 a search.
 *
 * @example
 * ```ts
 * import { returnOf, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(returnOf({ correct: true, turns: [{ kind: "search" }, { kind: "answer" }] } as Trajectory), 0.9);
 * ```
 */
export function returnOf(trajectory: Trajectory): number {
  return Number(trajectory.correct) - searchCost * searchCount(trajectory);
}

/**
 * Pairs the sibling of each question with its strictly worse trajectories.
 *
 * The sibling is a correct trajectory with the fewest searches, then the fewest model tokens, then the lowest index. Worse
 * is: wrong, or correct with more searches. The members of a group are drawn independently, so the first
 * `pairsPerQuestion` of the worse ones are a fair sample of them.
 *
 * @param groups The trajectories of each question, one list a question.
 * @throws {Error} when a group mixes questions.
 *
 * @example
 * ```ts
 * import { chooseSiblings, type Trajectory } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const trajectory = (questionId: string, correct: boolean, searches: number) =>
 *   ({ questionId, correct, mask: [0, 1], turns: Array(searches).fill({ kind: "search" }) }) as unknown as Trajectory;
 * const group = [trajectory("a", true, 3), trajectory("a", true, 1), trajectory("a", false, 0)];
 * const { pairs } = chooseSiblings([group], { pairsPerQuestion: 3, sameSearchesMoreTokens: false });
 * assertEquals(pairs.map(({ sibling, student }) => [group.indexOf(sibling), group.indexOf(student)]), [[1, 0], [1, 2]]);
 * ```
 */
export function chooseSiblings(
  groups: readonly (readonly Trajectory[])[],
  options: SiblingOptions,
): SiblingChoice {
  const counts = {
    questions: groups.length,
    groupsKept: 0,
    withoutSibling: 0,
    withoutWorse: 0,
    notWorse: 0,
    overLimit: 0,
  };
  const pairs: SiblingPair[] = [];
  for (const group of groups) {
    const sibling = siblingOf(group);
    if (!sibling) {
      counts.withoutSibling++;
      continue;
    }
    const worse = group.filter((trajectory) => isWorse(trajectory, sibling, options));
    if (worse.length === 0) {
      counts.withoutWorse++;
      continue;
    }
    const kept = worse.slice(0, options.pairsPerQuestion);
    counts.groupsKept++;
    counts.notWorse += group.length - 1 - worse.length;
    counts.overLimit += worse.length - kept.length;
    for (const student of kept) {
      if (student.questionId !== sibling.questionId) {
        throw new Error(`Cannot pair "${student.questionId}" with a sibling of "${sibling.questionId}"`);
      }
      pairs.push({
        questionId: sibling.questionId,
        sibling,
        student,
        searchGap: searchCount(student) - searchCount(sibling),
        returnGap: returnOf(sibling) - returnOf(student),
      });
    }
  }
  return { pairs, counts };
}

/** The correct trajectory with the fewest searches, then model tokens, then index. */
function siblingOf(group: readonly Trajectory[]): Trajectory | undefined {
  let best: Trajectory | undefined;
  for (const trajectory of group) {
    if (trajectory.correct && (!best || compareCost(trajectory, best) < 0)) best = trajectory;
  }
  return best;
}

function isWorse(trajectory: Trajectory, sibling: Trajectory, options: SiblingOptions): boolean {
  if (trajectory === sibling) return false;
  if (!trajectory.correct) return true;
  const moreSearches = searchCount(trajectory) > searchCount(sibling);
  return moreSearches || (options.sameSearchesMoreTokens && compareCost(trajectory, sibling) > 0);
}

function compareCost(a: Trajectory, b: Trajectory): number {
  return searchCount(a) - searchCount(b) || modelTokenCount(a) - modelTokenCount(b);
}
