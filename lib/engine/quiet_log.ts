/**
 * Native libraries write to standard error as they are loaded: TensorFlow past its own log level, graphics drivers about
 * every display that is not there.
 *
 * @module
 */
import { cString } from "./libtensorflow_symbols.ts";

/**
 * Throws away what libraries write to standard error, until the function that it returns is called, unless the user set
 * TensorFlow's own TF_CPP_MIN_LOG_LEVEL.
 */
export function silenceLog(): () => void {
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
  const level = cString("TF_CPP_MIN_LOG_LEVEL");
  if (getenv(level) !== null) return () => libc.close();
  setenv(level, cString("1"), 0);
  const standardError = 2;
  const kept = dup(standardError);
  const nowhere = open(cString("/dev/null"), 1); // O_WRONLY
  dup2(nowhere, standardError);
  close(nowhere);
  return () => {
    dup2(kept, standardError);
    close(kept);
    unsetenv(level); // lest a process started from here takes it for the user's
    libc.close();
  };
}

/** Runs `work` with that thrown away. */
export function withoutLog<T>(work: () => T): T {
  const speak = silenceLog();
  try {
    return work();
  } finally {
    speak();
  }
}
