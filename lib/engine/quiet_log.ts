/**
 * TensorFlow writes to standard error as it is loaded, past its own log level.
 *
 * @module
 */
import { cString } from "./libtensorflow_symbols.ts";

/**
 * Runs `work` with what libraries write to standard error thrown away, unless the user set TensorFlow's own
 * TF_CPP_MIN_LOG_LEVEL.
 */
export function withoutLog<T>(work: () => T): T {
  const libc = Deno.dlopen(Deno.build.os === "darwin" ? "libSystem.B.dylib" : "libc.so.6", {
    getenv: { parameters: ["buffer"], result: "pointer" },
    setenv: { parameters: ["buffer", "buffer", "i32"], result: "i32" },
    unsetenv: { parameters: ["buffer"], result: "i32" },
    open: { parameters: ["buffer", "i32"], result: "i32" },
    dup: { parameters: ["i32"], result: "i32" },
    dup2: { parameters: ["i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { getenv, setenv, unsetenv, open, dup, dup2, close } = libc.symbols;
  try {
    const level = cString("TF_CPP_MIN_LOG_LEVEL");
    if (getenv(level) !== null) return work();
    setenv(level, cString("1"), 0);
    const standardError = 2;
    const kept = dup(standardError);
    const nowhere = open(cString("/dev/null"), 1); // O_WRONLY
    dup2(nowhere, standardError);
    close(nowhere);
    try {
      return work();
    } finally {
      dup2(kept, standardError);
      close(kept);
      unsetenv(level); // lest a process started from here takes it for the user's
    }
  } finally {
    libc.close();
  }
}
