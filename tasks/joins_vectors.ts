/**
 * Exits with 0 where the tasks should let V8 join WebAssembly's vectors (see lib/engine/wasm_kernels/joined_vectors.ts): on
 * Linux with AVX2, unless the user has set V8's flags. They run it with that flag, so that it fails where V8 does not know it.
 */
const chosen = Deno.env.has("DENO_V8_FLAGS");
// Deno lets nobody read /proc who has not all permissions.
const processor = Deno.build.os === "linux"
  ? await new Deno.Command("cat", { args: ["/proc/cpuinfo"] }).output()
  : undefined;
const able = processor?.success && /\bavx2\b/.test(new TextDecoder().decode(processor.stdout));
Deno.exit(able && !chosen ? 0 : 1);
