import { InputError } from "./input_error.ts";

/** One line of a JSON-lines file. */
export interface JsonRow {
  /** `Cannot parse <path> row <n>`, the opening of every message about this row; rows count from 1. */
  complaint: string;
  value: Record<string, unknown>;
}

/**
 * The objects of a JSON-lines file; empty lines are passed over.
 *
 * @throws {InputError} when the file is not there, a line is not a JSON object, or there is none.
 */
export async function readJsonLines(path: string): Promise<JsonRow[]> {
  const rows: JsonRow[] = [];
  for (const [i, line] of (await readInput(path, (p) => Deno.readTextFile(p))).split("\n").entries()) {
    if (line.trim() === "") continue;
    const complaint = `Cannot parse ${path} row ${i + 1}`;
    rows.push({ complaint, value: parsedObject(line, complaint) });
  }
  if (rows.length === 0) {
    throw new InputError(`Cannot read ${path}: it is empty; write one JSON object a line`);
  }
  return rows;
}

/**
 * What stands in a JSON file of which `text` is the content.
 *
 * @throws {InputError} when it is not JSON.
 */
export function parseJson<T>(text: string, path: string): T {
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError(`Cannot parse ${path}: it is cut off or not JSON; restore it from a copy`);
  }
}

/** Reads a file that the user named. */
export async function readInput<T>(path: string, read: (path: string) => Promise<T>): Promise<T> {
  try {
    return await read(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new InputError(`Cannot read ${path}: there is no such file; give the path of one`);
    }
    if (error instanceof Deno.errors.IsADirectory) {
      throw new InputError(`Cannot read ${path}: it is a folder; give the path of a file`);
    }
    throw error;
  }
}

/** The text under `key`; undefined where the key is left out. */
export function textAt(row: JsonRow, key: string): string | undefined {
  const value = row.value[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string" || typeof value === "number") return String(value);
  throw new InputError(`${row.complaint}: "${key}" is ${shown(value)}; make it a string`);
}

/** A value as an error message quotes it, cut to a readable length. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value, (_, v) => typeof v === "bigint" ? Number(v) : v) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

function parsedObject(line: string, complaint: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new InputError(`${complaint}: ${shown(line)} is not JSON; write one JSON object a line`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${complaint}: ${shown(value)} is not an object; write one JSON object a line`);
  }
  return value as Record<string, unknown>;
}
