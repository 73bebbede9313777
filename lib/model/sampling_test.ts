import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { sampleToken } from "./sampling.ts";

const p = Float32Array.of(0.1, 0.4, 0, 0.4, 0.1);

Deno.test("sampleToken() takes the lowest of the likeliest ids at temperature 0", () => {
  assertEquals(sampleToken(p, 0.99, { temperature: 0 }), 1);
});

Deno.test("sampleToken() draws by inverse CDF in id order", () => {
  const drawn = [0, 0.05, 0.11, 0.49, 0.51, 0.89, 0.91, 0.9999999].map((u) =>
    sampleToken(p, u, { temperature: 1 })
  );
  assertEquals(drawn, [0, 0, 1, 1, 3, 3, 4, 4]);
});

Deno.test("sampleToken() keeps the topK likeliest, then the fewest that reach topP", () => {
  assertEquals([0, 0.6].map((u) => sampleToken(p, u, { temperature: 1, topK: 2 })), [1, 3]);
  assertEquals([0, 0.99].map((u) => sampleToken(p, u, { temperature: 1, topP: 0.4 })), [1, 1]);
  assertEquals([0, 0.99].map((u) => sampleToken(p, u, { temperature: 1, topP: 0.85 })), [0, 3]);
  // Top-p counts shares of what top-k has left.
  assertEquals([0, 0.99].map((u) => sampleToken(p, u, { temperature: 1, topK: 2, topP: 0.5 })), [1, 1]);
});

Deno.test("sampleToken() never draws an impossible token", () => {
  fc.assert(fc.property(
    fc.array(fc.oneof(fc.constant(0), fc.float({ min: 0, max: 1, noNaN: true })), {
      minLength: 1,
      maxLength: 9,
    }),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    fc.constantFrom({}, { topK: 2 }, { topP: 0.5 }),
    (weights, uniform, truncation) => {
      const probabilities = Float32Array.from(weights);
      fc.pre(probabilities.some((weight) => weight > 1e-30));
      assert(probabilities[sampleToken(probabilities, uniform, { temperature: 1, ...truncation })]! > 0);
    },
  ));
});

Deno.test("sampleToken() says that logits are not finite", () => {
  const broken = Float32Array.of(NaN, NaN);
  assertThrows(() => sampleToken(broken, 0.5, { temperature: 1 }), Error, "the logits are not finite");
  assertThrows(() => sampleToken(broken, 0.5, { temperature: 0 }), Error, "the logits are not finite");
});
