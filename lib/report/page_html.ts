/**
 * The page that shows a run: one HTML file without any network. Styles, Vega and the browser code of lib/report/page stand
 * inline; the report carries its data, the live page is sent them.
 *
 * @module
 */
import { stripTypeScriptTypes } from "node:module";
import type { PageData } from "./page_data.ts";
import { chartTheme } from "./theme.ts";
import { escapeHtml } from "./transcript.ts";

/** The browser code: module scripts that import nothing, in the order in which they run. */
export const pageScripts = [
  "chart_element.ts",
  "transcripts_element.ts",
  "heatmap_element.ts",
  "page.ts",
] as const;

/**
 * The page.
 *
 * @param data What it shows; left out, it waits for the server's `events`.
 * @param options.live Whether a server sends it new data.
 */
export async function pageHtml(data: PageData | undefined, { live }: { live: boolean }): Promise<string> {
  const vega = await Deno.readTextFile(new URL("vega.min.js", import.meta.resolve("vega")));
  const modules = await Promise.all(pageScripts.map(async (name) => plainScript(await readSource(name))));
  const code = [vega, ...modules].map(escapeScript);
  const policy = [
    "default-src 'none'",
    // Only these very scripts run, whatever a model wrote. Vega compiles expressions, which needs 'unsafe-eval'.
    `script-src 'unsafe-eval' ${(await Promise.all(code.map(hashSource))).join(" ")}`,
    "style-src 'unsafe-inline'",
    "img-src data:",
    `connect-src ${live ? "'self'" : "'none'"}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(data?.title ?? "A Search-E1 run")}</title>
<style>${await readSource("style.css")}</style>
</head>
<body>
<noscript><p>This page needs JavaScript for its curves and transcripts.</p>${
    (data?.tables ?? []).map(tableHtml).join("\n")
  }</noscript>
<script type="application/json" id="themes">${
    escapeJson({ light: chartTheme("light"), dark: chartTheme("dark") })
  }</script>
${data && !live ? `<script type="application/json" id="data">${escapeJson(data)}</script>` : ""}
<script>${code[0]}</script>
${code.slice(1).map((script) => `<script type="module">${script}</script>`).join("\n")}
</body>
</html>
`;
}

function readSource(name: string): Promise<string> {
  return Deno.readTextFile(new URL(`page/${name}`, import.meta.url));
}

/** The JavaScript in a TypeScript file, without its comments and the space that types leave. */
function plainScript(source: string): string {
  return stripTypeScriptTypes(source)
    .replace(/^\s*\/\*\*[^]*?\*\/[ \t]*$/gm, "")
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/[ \t]+$/gm, "")
    .replace(/\n{2,}/g, "\n");
}

/** JavaScript that HTML does not read as the end of its script; both escapes stand in strings and patterns only. */
function escapeScript(code: string): string {
  return code.replace(/<\/(?=script)/gi, "<\\/").replaceAll("<!--", "<\\!--");
}

/** JSON that HTML does not read as markup. */
function escapeJson(value: unknown): string {
  return JSON.stringify(value).replace(/<(?=[/!])/g, "\\u003c");
}

async function hashSource(script: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(script));
  return `'sha256-${new Uint8Array(digest).toBase64()}'`;
}

function tableHtml({ title, rows }: PageData["tables"][number]): string {
  const line = (row: string[], tag: string) =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("")}</tr>`;
  const [head = [], ...body] = rows;
  return `<h2>${escapeHtml(title)}</h2>
<table>${line(head, "th")}${body.map((row) => line(row, "td")).join("")}</table>`;
}
