/**
 * `@std/cli` where the JSR registry is out of reach: npm's `deno-std` carries the same code as plain JavaScript, and this
 * file gives it types back. `links` in the project's deno.json puts it in the place of `jsr:@std/cli`.
 *
 * @module
 */
import * as std from "npm:deno-std@1.4.0/cli/parse_args.js";

/** What {@linkcode parseArgs} is told about the flags of a command. */
export interface ParseOptions {
  /** Flags that take no value. */
  boolean?: string[];
  /** Flags whose value stays a string. */
  string?: string[];
  /** Flags that may stand several times. */
  collect?: string[];
  /** Short names. */
  alias?: Record<string, string>;
  /** Values of flags that were not given. */
  default?: Record<string, unknown>;
  /** Called with every flag that is not named above; returning false leaves it out. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The flags by name, and in `_` what is no flag. */
export type ParsedArgs = { _: (string | number)[] } & Record<string, unknown>;

/** Parses a command line. */
export function parseArgs(args: string[], options: ParseOptions = {}): ParsedArgs {
  // deno-lint-ignore no-explicit-any
  return (std as any).parseArgs(args, options);
}
