"""The other side of `deno task bench --peers`: torch, transformers and TRL, asked by lines of JSON on standard input.

    python tasks/bench/peer.py THREADS

`prepare` sets a work up and does it for a while without a clock; every `repeat` does it once and answers with the
seconds it took and the amount of work done. Answers are lines of JSON on standard output; what libraries print goes to
standard error.
"""

import json
import os
import sys
import time

threads = int(sys.argv[1])
os.environ["OMP_NUM_THREADS"] = str(threads)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(threads)
torch.manual_seed(1)


def answer(**fields):
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


def model_of(config):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    fields = {key: value for key, value in config.items() if key != "model_type"}
    qwen = Qwen2Config(**fields, attn_implementation="sdpa", eos_token_id=None, bos_token_id=None, pad_token_id=0)
    return Qwen2ForCausalLM(qwen)


def adamw(model, rate):
    # The Trainer of transformers chooses the fused AdamW too.
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)


def matmul(request):
    """GFLOP of products of [n, k] and [k, m] matrices, either of them transposed."""
    shape = request["shape"]
    batch, n, k, m, times = (shape[key] for key in ("batch", "n", "k", "m", "times"))
    a = torch.rand(batch, *((k, n) if shape["a"] == "T" else (n, k)))
    b = torch.rand(batch, *((m, k) if shape["b"] == "T" else (k, m)))
    a = a.mT if shape["a"] == "T" else a
    b = b.mT if shape["b"] == "T" else b
    if batch == 1:
        a, b = a[0], b[0]

    def repeat():
        with torch.inference_mode():
            for _ in range(times):
                torch.matmul(a, b)
        return 2e-9 * batch * n * k * m * times

    return repeat


def train(request):
    """One step: forward, cross-entropy at every position, backward, AdamW."""
    model = model_of(request["config"]).train()
    optimizer = adamw(model, 1e-4)
    ids = torch.tensor(request["data"]["rows"])

    def repeat():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return ids.numel()

    return repeat


def generate(request):
    """HF generate: every context goes on for the same number of sampled tokens."""
    from transformers import GenerationConfig

    model = model_of(request["config"]).eval()
    ids = torch.tensor(request["data"]["rows"])
    new = request["shape"]["new"]
    sampling = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new, pad_token_id=0)

    def repeat():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=sampling)
        assert out.shape[1] == ids.shape[1] + new
        return ids.shape[0] * new

    return repeat


def rollout(request):
    """HF generate once a turn: the contexts that the kit's roll-outs had, each row ending after as many tokens as theirs."""
    from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

    model = model_of(request["config"]).eval()

    class EndAt(StoppingCriteria):
        def __init__(self, ends):
            self.ends = ends

        def __call__(self, ids, scores, **_):
            return ids.shape[1] >= self.ends

    turns = []
    for turn in request["data"]["turns"]:
        longest = max(len(context) for context in turn["contexts"])
        ids = torch.tensor([[0] * (longest - len(context)) + context for context in turn["contexts"]])
        mask = torch.tensor([[0] * (longest - len(c)) + [1] * len(c) for c in turn["contexts"]])
        lengths = torch.tensor(turn["lengths"])
        sampling = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=int(lengths.max()), pad_token_id=0
        )
        turns.append((ids, mask, sampling, StoppingCriteriaList([EndAt(longest + lengths)]), int(lengths.sum())))

    def repeat():
        for ids, mask, sampling, ends, _ in turns:
            model.generate(input_ids=ids, attention_mask=mask, generation_config=sampling, stopping_criteria=ends)
        return sum(turn[-1] for turn in turns)

    return repeat


def grpo_trainer(config, prompts, group, new_tokens, callback):
    """TRL's trainer as it comes, but in float32, without checkpointing of activations and without logs."""
    import tempfile

    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    vocabulary = {f"w{i}": i for i in range(config["vocab_size"])}
    # An end token that the model cannot write: all completions are of the same length.
    vocabulary["<eos>"] = config["vocab_size"]
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=len(prompts) * group,
        num_generations=group,
        gradient_accumulation_steps=1,
        max_completion_length=new_tokens,
        num_iterations=1,
        beta=0.0,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        max_steps=1_000_000,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=model_of(config),
        reward_funcs=lambda completion_ids, **_: [sum(t % 2 for t in ids) / len(ids) for ids in completion_ids],
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": " ".join(f"w{t}" for t in row)} for row in prompts]),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="w0"),
        callbacks=[callback],
    )


def train_rl(request):
    """One step of the clipped GRPO loss with TRL's padding and masks, on logits of all completion positions."""
    rows = request["data"]["rows"]
    model = model_of(request["config"]).train()
    optimizer = adamw(model, 1e-6)

    def padded(parts, left=False):
        longest = max(map(len, parts))
        filled = ([0] * (longest - len(part)) for part in parts)
        return torch.tensor([more + part if left else part + more for part, more in zip(parts, filled)])

    prompts = [row["tokens"][: row["prompt"]] for row in rows]
    completions = [row["tokens"][row["prompt"] :] for row in rows]
    ids = torch.cat([padded(prompts, left=True), padded(completions)], 1)
    ones = [[[1] * len(part) for part in parts] for parts in (prompts, completions)]
    attention_mask = torch.cat([padded(ones[0], left=True), padded(ones[1])], 1)
    mask = padded([row["mask"][row["prompt"] :] for row in rows])
    keep = mask.shape[1]
    advantages = torch.tensor([row["advantage"] for row in rows])[:, None]
    old = torch.full(mask.shape, request["data"]["old"])

    def repeat():
        out = model(input_ids=ids, attention_mask=attention_mask, logits_to_keep=keep + 1, use_cache=False)
        logits = out.logits[:, :-1]
        logp = torch.log_softmax(logits, -1)
        chosen = logp.gather(-1, ids[:, -keep:, None])[..., 0]
        with torch.no_grad():  # the metric that both sides report
            entropy = -(logp.exp() * logp).sum(-1)
        ratio = torch.exp(chosen - old)
        surrogate = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        loss = -(surrogate * mask).sum() / mask.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item(), (entropy * mask).sum().item()
        return sum(len(row["tokens"]) for row in rows)

    return repeat


def grpo_step(request):
    """Steps of `GRPOTrainer.train()` itself, which waits for a request before each but the first, and never returns."""
    from transformers import TrainerCallback

    class OneAtATime(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                answer(ready=True)
            if state.global_step >= 2:
                serve()
            self.started = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            if state.global_step > 2:
                answer(seconds=time.perf_counter() - self.started, amount=1)

    shape = request["shape"]
    grpo_trainer(request["config"], request["data"]["rows"], shape["group"], shape["new"], OneAtATime()).train()


works = {
    "matmul": matmul,
    "train": train,
    "train_rl": train_rl,
    "generate": generate,
    "rollout": rollout,
    "grpo_step": grpo_step,
}


def serve():
    """Answers requests; returns when a GRPO step is asked for, which its trainer then takes."""
    repeat = None
    while True:
        line = sys.stdin.readline()
        if not line:
            answers.flush()
            os._exit(0)
        request = json.loads(line)
        if request["do"] == "prepare":
            repeat = None
            repeat = works[request["task"]](request)
            until = time.perf_counter() + request["warmSeconds"]
            done = 0
            while done < request["warm"] or time.perf_counter() < until:
                repeat()
                done += 1
            answer(ready=True)
        elif repeat is None:
            return
        else:
            started = time.perf_counter()
            amount = repeat()
            answer(seconds=time.perf_counter() - started, amount=amount)


serve()
