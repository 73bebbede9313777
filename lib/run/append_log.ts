/**
 * A file that grows record by record and can be cut back to an earlier length: metrics and TensorBoard events. A resumed
 * run cuts it back to the length that its checkpoint recorded, and so goes on as if it had never stopped.
 *
 * @module
 */

/**
 * An open log.
 *
 * @example
 * ```ts
 * import { AppendLog } from "@search-e1/kit";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const log = await AppendLog.open(path, 0);
 * await log.append(new TextEncoder().encode("one\n"));
 * const { length } = log;
 * await log.append(new TextEncoder().encode("two\n"));
 * log.close();
 *
 * (await AppendLog.open(path, length)).close(); // cut back
 * assertEquals(await Deno.readTextFile(path), "one\n");
 * await Deno.remove(path);
 * ```
 */
export class AppendLog {
  readonly #file: Deno.FsFile;
  #length: number;

  private constructor(file: Deno.FsFile, length: number) {
    this.#file = file;
    this.#length = length;
  }

  /**
   * Opens a log and cuts it back to `length` bytes; 0 starts it afresh.
   *
   * @throws {Error} when the file is shorter than `length`.
   */
  static async open(path: string, length: number): Promise<AppendLog> {
    const file = await Deno.open(path, { write: true, create: true });
    const { size } = await file.stat();
    if (size < length) {
      file.close();
      throw new Error(
        `Cannot go on with ${path}: it holds ${size} bytes, and the checkpoint was written at ${length}`,
      );
    }
    await file.truncate(length);
    await file.seek(0, Deno.SeekMode.End);
    return new AppendLog(file, length);
  }

  /** Bytes written so far: what a checkpoint records. */
  get length(): number {
    return this.#length;
  }

  /** Appends one record in one write. */
  async append(record: Uint8Array): Promise<void> {
    for (let written = 0; written < record.length;) {
      written += await this.#file.write(record.subarray(written));
    }
    this.#length += record.length;
  }

  /** Waits until the disk has everything; a checkpoint does so before it records the length. */
  async sync(): Promise<void> {
    await this.#file.sync();
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}
