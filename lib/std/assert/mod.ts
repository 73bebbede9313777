/**
 * `@std/assert` where the JSR registry is out of reach: npm's `deno-std` carries the same code as plain JavaScript, and
 * this file gives it types back. `links` in the project's deno.json puts it in the place of `jsr:@std/assert`.
 *
 * @module
 */
import * as std from "npm:deno-std@1.4.0/assert/mod.js";

// deno-lint-ignore no-explicit-any
type Constructor<T> = abstract new (...args: any[]) => T;
// deno-lint-ignore no-explicit-any
const untyped = std as any;

/** The error that every assertion throws. */
export const AssertionError: new (message: string, options?: ErrorOptions) => Error = untyped.AssertionError;

/** Asserts that `expr` is truthy. */
export function assert(expr: unknown, message?: string): asserts expr {
  untyped.assert(expr, message);
}

/** Asserts that `expr` is falsy. */
export function assertFalse(
  expr: unknown,
  message?: string,
): asserts expr is false | 0 | "" | null | undefined {
  untyped.assertFalse(expr, message);
}

/** Asserts that `actual` and `expected` are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  untyped.assertEquals(actual, expected, message);
}

/** Asserts that `actual` and `expected` are not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  untyped.assertNotEquals(actual, expected, message);
}

/** Asserts that `actual` and `expected` are the same by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T {
  untyped.assertStrictEquals(actual, expected, message);
}

/** Asserts that two numbers differ by at most `tolerance` (1e-7 of `expected` when left out). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  message?: string,
): void {
  untyped.assertAlmostEquals(actual, expected, tolerance, message);
}

/** Asserts that `actual` is neither null nor undefined. */
export function assertExists<T>(actual: T, message?: string): asserts actual is NonNullable<T> {
  untyped.assertExists(actual, message);
}

/** Asserts that `actual` is less than `expected`. */
export function assertLess<T>(actual: T, expected: T, message?: string): void {
  untyped.assertLess(actual, expected, message);
}

/** Asserts that `actual` is at most `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void {
  untyped.assertLessOrEqual(actual, expected, message);
}

/** Asserts that `actual` is greater than `expected`. */
export function assertGreater<T>(actual: T, expected: T, message?: string): void {
  untyped.assertGreater(actual, expected, message);
}

/** Asserts that `actual` is at least `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void {
  untyped.assertGreaterOrEqual(actual, expected, message);
}

/** Asserts that `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  untyped.assertStringIncludes(actual, expected, message);
}

/** Asserts that `actual` matches the regular expression. */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  untyped.assertMatch(actual, expected, message);
}

/** Asserts that `actual` is an instance of `expectedType`. */
export function assertInstanceOf<T>(
  actual: unknown,
  expectedType: Constructor<T>,
  message?: string,
): asserts actual is T {
  untyped.assertInstanceOf(actual, expectedType, message);
}

/** Asserts that `fn` throws, of the given class and with the given text in its message; returns what was thrown. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass?: Constructor<E>,
  messageIncludes?: string,
  message?: string,
): E {
  return untyped.assertThrows(fn, errorClass ?? Error, messageIncludes, message);
}

/** Asserts that `fn`'s promise rejects, with the given class and text in its message; resolves to what was thrown. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: Constructor<E>,
  messageIncludes?: string,
  message?: string,
): Promise<E> {
  return untyped.assertRejects(fn, errorClass ?? Error, messageIncludes, message);
}

/** Fails at once. */
export function fail(message?: string): never {
  throw new AssertionError(message ? `Failed assertion: ${message}` : "Failed assertion");
}
