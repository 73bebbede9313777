import { writeWhole } from "../lib/base/files.ts";

/** Writes a page of the documentation, making its folder. */
export async function writeDocument(path: string, text: string): Promise<void> {
  const end = path.lastIndexOf("/");
  if (end > 0) await Deno.mkdir(path.slice(0, end), { recursive: true });
  await writeWhole(path, text);
}
