import { assert, assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs";
import fc from "fast-check";
import {
  batchTensors,
  microBatches,
  modelTokensByRow,
  packBatch,
  packPerToken,
  rowsEndToEnd,
  type Sequence,
} from "./batch.ts";

const sequence: fc.Arbitrary<Sequence> = fc.array(fc.tuple(fc.nat(99), fc.constantFrom(0, 1)), {
  maxLength: 20,
})
  .map((pairs) => ({
    tokens: pairs.map(([token]) => token),
    mask: pairs.map(([, m], t) => t === 0 ? 0 : m),
  }));

Deno.test("packBatch() asks for every masked token once, by the hidden state before it", () => {
  fc.assert(fc.property(
    fc.array(sequence, { minLength: 1, maxLength: 5 }),
    fc.integer({ min: 1, max: 9 }),
    fc.integer({ min: 1, max: 9 }),
    fc.nat(3),
    (sequences, lengthBucket, maskBucket, more) => {
      const rows = sequences.length + more;
      const packed = packBatch(sequences, { padTokenId: 100, lengthBucket, maskBucket, rows });
      const { B, T, M } = packed;
      assertEquals([B, T % lengthBucket, M % maskBucket], [rows, 0, 0]);
      const values = sequences.map(({ tokens }) => tokens.map((token, t) => 1000 * t + token));
      const perToken = packPerToken(packed, sequences, values);
      for (let row = 0; row < B; row++) {
        const { tokens, mask } = sequences[row] ?? { tokens: [], mask: [] };
        const padded = Array.from({ length: T }, (_, t) => tokens[t] ?? 100);
        assertEquals([...packed.tokens_BT.subarray(row * T, (row + 1) * T)], padded);
        const asked = mask.flatMap((m, t) => m ? [t] : []);
        assert(asked.length <= M);
        for (let i = 0; i < M; i++) {
          const [at, t] = [row * M + i, asked[i]];
          const found = [packed.mask_BM[at], packed.index_BM[at], packed.targets_BM[at], perToken[at]];
          assertEquals(
            found,
            t === undefined ? [0, 0, 0, 0] : [1, row * T + t - 1, tokens[t], values[row]![t]],
          );
        }
      }
    },
  ));
});

Deno.test("packBatch() lays all model tokens in one row, from which modelTokensByRow() finds each sequence's", () => {
  fc.assert(fc.property(fc.array(sequence, { minLength: 1, maxLength: 5 }), fc.nat(3), (sequences, more) => {
    const options = { padTokenId: 100, rows: sequences.length + more };
    const apart = packBatch(sequences, options);
    const packed = packBatch(sequences, { ...options, maskBucket: 4, together: true });
    assertEquals(packed.tokens_BT, apart.tokens_BT);
    const { B, M } = packed;
    const count = apart.mask_BM.reduce((sum, m) => sum + m, 0);
    assertEquals([B, M], [1, Math.max(4, Math.ceil(count / 4) * 4)]);
    const real = (values: Int32Array | Float32Array) => [...values].filter((_, i) => apart.mask_BM[i] === 1);
    const padded = (values: number[]) => [...values, ...Array(M - count).fill(0)];
    assertEquals([...packed.mask_BM], padded(Array(count).fill(1)));
    assertEquals([...packed.index_BM], padded(real(apart.index_BM)));
    assertEquals([...packed.targets_BM], padded(real(apart.targets_BM)));
    const values = sequences.map(({ tokens }) => tokens.map((token, t) => 1000 * t + token));
    assertEquals(
      [...packPerToken(packed, sequences, values)],
      padded(real(packPerToken(apart, sequences, values))),
    );

    for (const batch of [packed, apart]) {
      const { shape: [S, width], place_SM, mask_SM } = modelTokensByRow(batch, sequences);
      assertEquals(S, sequences.length);
      sequences.forEach(({ tokens, mask }, s) => {
        const asked = mask.flatMap((m, t) => m ? [tokens[t]] : []);
        const row = [...place_SM.subarray(s * width, (s + 1) * width)];
        assertEquals(row.slice(0, asked.length).map((at) => batch.targets_BM[at]), asked);
        assert(row.slice(asked.length).every((at) => at === 0));
        assertEquals(
          mask_SM.subarray(s * width, (s + 1) * width).reduce((sum, m) => sum + m, 0),
          asked.length,
        );
      });
    }
  }));
});

Deno.test("rowsEndToEnd() takes as many rows as leave least to padding, some for every thread", () => {
  // The first tokens differ, so that no beginning is shared.
  const some = (lengths: number[]): Sequence[] =>
    lengths.map((length, i) => ({ tokens: Array(length).fill(i), mask: Array(length).fill(0) }));
  const computed = (sequences: Sequence[], endToEnd: number) => {
    const { rows, T } = packBatch(sequences, { padTokenId: 0, endToEnd, lengthBucket: 64 });
    return rows * T;
  };
  const equal = some(Array(64).fill(80));
  for (const threads of [1, 2, 4]) assertEquals(computed(equal, rowsEndToEnd(equal, threads)), 64 * 80);
  assertEquals(rowsEndToEnd([], 2), 2);
  assertEquals(rowsEndToEnd(some([5, 7]), 2), 2);
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 }),
    fc.integer({ min: 1, max: 4 }),
    (lengths, threads) => {
      const sequences = some(lengths);
      const rows = rowsEndToEnd(sequences, threads);
      assertEquals(rows % threads, 0);
      const share = lengths.reduce((sum, length) => sum + length, 0) / threads;
      for (let each = 1; each <= 12; each++) {
        const length = share / each;
        if (length < 640 || length > 1536) continue;
        assert(computed(sequences, rows) <= computed(sequences, each * threads));
      }
    },
  ));
});

Deno.test("packBatch() lays sequences end to end, each marked where it begins, and asks for the same tokens", () => {
  fc.assert(fc.property(
    fc.array(sequence, { minLength: 1, maxLength: 9 }),
    fc.integer({ min: 1, max: 4 }),
    fc.integer({ min: 1, max: 9 }),
    (sequences, endToEnd, lengthBucket) => {
      const packed = packBatch(sequences, {
        padTokenId: 100,
        endToEnd,
        lengthBucket,
        rows: sequences.length + 1,
      });
      const { B, rows, T, M, tokens_BT, index_BM, targets_BM, mask_BM } = packed;
      const total = sequences.reduce((sum, { tokens }) => sum + tokens.length, 0);
      const longest = Math.max(1, ...sequences.map(({ tokens }) => tokens.length));
      assertEquals([B, rows * T, T % lengthBucket], [sequences.length + 1, tokens_BT.length, 0]);
      assert(rows <= endToEnd && T < total / rows + Math.max(longest, total / rows / 2) + lengthBucket);

      // What stands between two beginnings is a sequence, padding, or what several sequences begin with; these follow it.
      const found: number[][] = [];
      const idOf = (token: number) => token < 0 ? (-1 - token) % 2 ** 30 : token;
      let prefix: number[] = [];
      tokens_BT.forEach((token, at) => {
        const branches = token < -(2 ** 30);
        if (branches) {
          if (found.at(-1) === prefix) found.pop();
          found.push([...prefix]);
        } else if (token < 0 || at % T === 0) found.push(prefix = []);
        found.at(-1)!.push(idOf(token));
      });
      const known = (part: readonly number[]) => part.join();
      const padding = (part: number[]) => part.every((token) => token === 100);
      const some = sequences.map(({ tokens }) => tokens).filter((tokens) => tokens.length > 0);
      assertEquals(found.filter((part) => !padding(part)).map(known).sort(), some.map(known).sort());

      const asked = sequences.map(({ mask }) => mask.flatMap((m, t) => m ? [t] : []));
      assertEquals(mask_BM.reduce((sum, m) => sum + m, 0), asked.flat().length);
      asked.forEach((positions, b) =>
        positions.forEach((t, i) => {
          const { tokens } = sequences[b]!;
          const before = tokens_BT[index_BM[b * M + i]!]!;
          assertEquals(idOf(before), tokens[t - 1]);
          assertEquals(targets_BM[b * M + i], tokens[t]);
        })
      );
    },
  ));
});

Deno.test("packBatch() lays what sequences begin with only once, where they lie end to end", () => {
  const question = (q: number) => Array.from({ length: 10 }, (_, t) => 10 * q + t);
  const sequences = [0, 1].flatMap((q) =>
    [3, 1, 2].map((own) => {
      const tokens = [...question(q), ...Array(own).fill(50 + own)];
      return { tokens, mask: tokens.map((_, t) => Number(t >= 10)) };
    })
  );
  const { rows, T, tokens_BT, index_BM, M } = packBatch(sequences, {
    padTokenId: 99,
    endToEnd: 1,
    lengthBucket: 1,
    maskBucket: 1,
  });
  assertEquals([rows, T, M], [1, 2 * (10 + 3 + 1 + 2), 3]);
  const branch = (token: number) => -1 - 2 ** 30 - token;
  const own = [branch(51), branch(52), 52, branch(53), 53, 53];
  assertEquals([...tokens_BT], [...question(0), ...own, -11, ...question(1).slice(1), ...own]);
  // The first token of each is predicted by the end of the question, wherever that lies.
  assertEquals([0, 1, 2, 3, 4, 5].map((b) => index_BM[b * M]), [9, 9, 9, 25, 25, 25]);

  // A beginning of a few tokens is not worth it, and of one sequence something is left.
  const short = [1, 2].map((last) => ({ tokens: [5, 6, 7, last], mask: [0, 0, 0, 1] }));
  assertEquals(packBatch(short, { padTokenId: 0, endToEnd: 1, lengthBucket: 1 }).T, 8);
  const same = [1, 2].map(() => ({ tokens: question(0), mask: Array(10).fill(0) }));
  assertEquals(packBatch(same, { padTokenId: 0, endToEnd: 1, lengthBucket: 1 }).T, 9 + 2);
});

Deno.test("packBatch() refuses masks that mean nothing", () => {
  const pack = (tokens: number[], mask: number[]) => packBatch([{ tokens, mask }], { padTokenId: 0 });
  assertThrows(() => pack([1, 2], [1, 0]), RangeError, "row 0: its mask asks for the first token");
  assertThrows(() => pack([1, 2], [0]), RangeError, "row 0: its mask has 1 entries for 2 tokens");
  assertThrows(() => pack([1, 2], [0, 0.5]), RangeError, "mask[1] is 0.5, not 0 or 1");
  const three = Array.from({ length: 3 }, () => ({ tokens: [1], mask: [0] }));
  assertThrows(() => packBatch(three, { padTokenId: 0, rows: 2 }), RangeError, "3 sequences into 2 rows");
});

Deno.test("packPerToken() refuses values that do not fit", () => {
  const sequences = [{ tokens: [1, 2], mask: [0, 1] }];
  const packed = packBatch(sequences, { padTokenId: 0 });
  assertThrows(() => packPerToken(packed, sequences, [[1]]), RangeError, "row 0: there are 1 for 2 tokens");
});

Deno.test("batchTensors() uploads what was packed", async () => {
  await tf.setBackend("cpu");
  const packed = packBatch([{ tokens: [4, 5, 6], mask: [0, 0, 1] }], {
    padTokenId: 9,
    lengthBucket: 4,
    maskBucket: 2,
  });
  const { tokens_BT, index_BM, targets_BM, mask_BM } = batchTensors(packed);
  assertEquals([tokens_BT, index_BM, targets_BM, mask_BM].map(({ dtype, shape }) => [dtype, ...shape]), [
    ["int32", 1, 4],
    ["int32", 1, 2],
    ["int32", 1, 2],
    ["float32", 1, 2],
  ]);
  assertEquals([...await index_BM.data()], [1, 0]);
  tf.dispose([tokens_BT, index_BM, targets_BM, mask_BM]);
});

Deno.test("microBatches() puts neighbours in length together, the longest first, and each index once", () => {
  const sequences = [3, 9, 3, 1, 7].map((length) => ({ tokens: Array(length).fill(1), mask: [] }));
  assertEquals(microBatches(sequences, 2), [[1, 4], [0, 2], [3]]);
  assertEquals(microBatches([], 2), []);
});
