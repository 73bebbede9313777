/** Opens pages in a real Chromium without a window, for the tests that look at what a reader sees. */
import { assertEquals } from "@std/assert";
import type { Browser, Page } from "playwright-core";

/** The first of SEARCH_E1_CHROMIUM and the usual names that runs; undefined, with the reason printed, when none does. */
export async function chromiumPath(): Promise<string | undefined> {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  const found = names.flatMap((name) => folders.map((folder) => `${folder}/${name}`));
  for (const path of [Deno.env.get("SEARCH_E1_CHROMIUM"), ...found]) {
    if (!path) continue;
    try {
      const { success } = await new Deno.Command(path, {
        args: ["--version"],
        stdout: "null",
        stderr: "null",
      })
        .output();
      if (success) return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  console.log(
    "Skipped: no Chromium is found; install chromium, or name one in SEARCH_E1_CHROMIUM",
  );
  return undefined;
}

/** Starts it. */
export async function openChromium(executablePath: string): Promise<Browser> {
  // As it loads, playwright looks below /proc for Windows' Linux, which Deno allows under --allow-all only. With this
  // variable set it does not; a browser is opened in the same way.
  Deno.env.set("__IS_WSL_TEST__", "1");
  const { chromium } = await import("playwright-core");
  // Its own sandbox cannot be had in a container; it shows nothing but the kit's pages.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/**
 * Opens a page and asserts at the end that it met no error and asked for nothing but itself and what `allowed` matches. A
 * page from disk is opened without any network.
 *
 * @param options.ignored Errors that belong to the test.
 */
export async function withPage(
  browser: Browser,
  url: string,
  body: (page: Page) => Promise<void>,
  { allowed, ignored }: { allowed?: RegExp; ignored?: RegExp } = {},
): Promise<void> {
  const context = await browser.newContext({ offline: url.startsWith("file:"), colorScheme: "light" });
  try {
    const page = await context.newPage();
    const met: string[] = [];
    page.on("pageerror", (error) => met.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) met.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      if (request.url() !== url && !allowed?.test(request.url())) met.push(`request: ${request.url()}`);
    });
    page.on("dialog", async (dialog) => {
      met.push(`dialog: ${dialog.message()}`);
      await dialog.dismiss();
    });
    await page.goto(url);
    await body(page);
    assertEquals(met.filter((line) => !ignored?.test(line)), []);
  } finally {
    await context.close();
  }
}
