/** A process that computes for the bench, as the bench sees it. @module */
import { type Answer, lines, type PrepareRequest } from "./protocol.ts";

/** A process that was started and waits for requests. */
export class Worker {
  readonly #child: Deno.ChildProcess;
  readonly #answers: AsyncGenerator<string>;
  readonly #requests: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #name: string;
  readonly #errors: Promise<string>;

  /** @param name What stands in messages about it. */
  constructor(name: string, command: readonly string[]) {
    this.#name = name;
    this.#child = new Deno.Command(command[0]!, {
      args: command.slice(1),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#answers = lines(this.#child.stdout);
    this.#requests = this.#child.stdin.getWriter();
    this.#errors = new Response(this.#child.stderr).text();
  }

  /** Sets a work up. */
  prepare(request: Omit<PrepareRequest, "do">): Promise<Answer> {
    return this.#ask({ do: "prepare", ...request });
  }

  /** Does the work that was set up once more. */
  async repeat(): Promise<{ seconds: number; amount: number }> {
    const { seconds, amount } = await this.#ask({ do: "repeat" });
    return { seconds: seconds!, amount: amount! };
  }

  /** Ends the process. */
  async close(): Promise<void> {
    await this.#requests.close().catch(() => {});
    await this.#answers.return(undefined);
    await this.#child.status;
    await this.#errors;
  }

  async #ask(request: object): Promise<Answer> {
    try {
      await this.#requests.write(new TextEncoder().encode(JSON.stringify(request) + "\n"));
    } catch {
      // The process is gone; what it said comes below.
    }
    for (;;) {
      const { value, done } = await this.#answers.next();
      if (done) throw new Error(`Cannot measure: ${this.#name} ended: ${lastLine(await this.#errors)}`);
      if (!value.startsWith("{")) continue; // a library's print
      const answer = JSON.parse(value) as Answer;
      if (answer.error !== undefined) throw new Error(`Cannot measure: ${this.#name}: ${answer.error}`);
      return answer;
    }
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) || "it said nothing";
}
