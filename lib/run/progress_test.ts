import { assert, assertEquals } from "@std/assert";
import { duration, type ProgressOptions, progressPrinter } from "./progress.ts";

function shown(options: Partial<ProgressOptions>, steps: number) {
  let text = "";
  let now = 0;
  const show = progressPrinter({
    terminal: false,
    ...options,
    write: (more) => text += more,
    now: () => now,
  });
  for (let done = 0; done <= steps; done++, now += 1000) {
    show({ kind: "step", stage: "sft", done, total: steps, figures: { loss: 1.5, grad_norm: 3 } });
  }
  show({ kind: "note", text: "done" });
  return text;
}

Deno.test("progressPrinter() writes a plain line every five seconds when piped", () => {
  const lines = shown({}, 500).trim().split("\n");
  assertEquals(lines.length, 101);
  assertEquals(lines.at(-2), "sft 500/500 · loss 1.500");
  assertEquals(lines.at(-1), "done");
  assert(!lines.join("").includes("\x1b"));
});

Deno.test("progressPrinter() draws over one line on a terminal and says how long is left", () => {
  const text = shown({ terminal: true, width: 60 }, 4);
  const frames = text.split("\r\x1b[K").slice(1);
  assert(frames[1]!.startsWith("sft █████░░░░░░░░░░░░░░░ 1/4 · 3 s left · loss 1.5"), frames[1]);
  assert(frames.every((frame) => frame.split("\n")[0]!.length < 60));
  assertEquals(text.split("\n").length, 3);
});

Deno.test("progressPrinter() leaves no line for an evaluation", () => {
  let text = "";
  const show = progressPrinter({ terminal: true, write: (more) => text += more, now: () => 0 });
  show({ kind: "step", stage: "evaluate", done: 6, total: 6 });
  show({ kind: "note", text: "EM .5" });
  assertEquals(text.split("\r\x1b[K").at(-1), "EM .5\n");
});

Deno.test("duration() takes the unit that fits", () => {
  assertEquals([3.4, 200, 7500].map(duration), ["3 s", "3 min 20 s", "2 h 5 min"]);
});
