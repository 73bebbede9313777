import { assertEquals } from "@std/assert";
import { downloadProgress, plainSeconds, progressLine } from "./download_progress.ts";

Deno.test("progressLine() names megabytes and the time left", () => {
  assertEquals(progressLine("it", 100e6, 274e6, 50), "Fetching it: 100 of 274 MB, 1 min 27 s left");
  assertEquals(progressLine("it", 100e6, undefined, 50), "Fetching it: 100 MB");
  assertEquals(progressLine("it", 0, 274e6, 50), "Fetching it: 0 MB");
  assertEquals(progressLine("it", 300e6, 274e6, 50), "Fetching it: 300 of 274 MB, 0 s left");
});

Deno.test("plainSeconds() gives seconds below a minute, minutes above", () => {
  assertEquals([0.4, 59, 60, 125].map(plainSeconds), ["0 s", "59 s", "1 min 0 s", "2 min 5 s"]);
});

/** What is shown of a download with a report every four seconds. */
function shown(options: { terminal?: boolean; quiet?: boolean }): string {
  let [text, time] = ["", 0];
  const progress = downloadProgress({
    terminal: false,
    ...options,
    write: (more) => text += more,
    now: () => time,
  });
  progress.start("it");
  for (let i = 1; i <= 4; i++) {
    time = i * 4000;
    progress.update(i * 1e6, 4e6);
  }
  progress.end();
  progress.say("done");
  return text;
}

Deno.test("downloadProgress() rewrites one line on a terminal", () => {
  assertEquals(
    shown({ terminal: true }),
    "Fetching it" +
      "\r\x1b[KFetching it: 1 of 4 MB, 12 s left\r\x1b[KFetching it: 2 of 4 MB, 8 s left" +
      "\r\x1b[KFetching it: 3 of 4 MB, 4 s left\r\x1b[KFetching it: 4 of 4 MB, 0 s left" +
      "\r\x1b[KFetched it in 16 s\ndone\n",
  );
});

Deno.test("downloadProgress() prints a plain line every ten seconds elsewhere, and nothing when quiet", () => {
  assertEquals(shown({}), "Fetching it\nFetching it: 3 of 4 MB, 4 s left\nFetched it in 16 s\ndone\n");
  assertEquals(shown({ quiet: true }), "");
});
