"""BERT fine-tuned on GLUE (Devlin et al. 2018, arXiv:1810.04805, sec. 4.1; Wang et al. 2018,
arXiv:1804.07461): sentences and pairs of them into classes, or into a score.

rayformer train bert-glue --data GLUE --data.task RTE --from runs/bert --train.seeds 3
rayformer train bert-glue --data GLUE --data.task all --from all-MiniLM-L6-v2 --plan.optim.rate 1e-4
rayformer predict runs/mine "a gripping, funny film"
rayformer train bert-glue --smoke
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rayformer.core.errors import DataError, RunError
from rayformer.core.seeds import seeded
from rayformer.data.text.glue import TASKS, Found, GlueConfig, Task, read_glue, there
from rayformer.data.text.lines import read_lines
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Prediction, Recipe, Setting, Stage
from rayformer.nets.bert import BertConfig
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.recipes.parts.classifier import classifier_groups
from rayformer.recipes.parts.glue_table import GlueTogether, combined
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.sentence_export import SENTENCE_EXPORTS
from rayformer.recipes.parts.sentences import (
    OpenRows,
    SentenceTask,
    SentenceTraining,
    by_epochs,
)
from rayformer.recipes.parts.text_body import TextBody, keep, kept, text_body_from, weights_into
from rayformer.runs.atomic import write_text

BETWEEN = "|||"
"""What stands between the two sentences of a pair where no tab does."""
TEXT_FILES = (".txt", ".tsv")
TASKS_FILE = "tasks.json"
"""What the tasks of a run are called, and how many rows they learn from, in RUN/assets."""


@dataclass(frozen=True, kw_only=True)
class BertGlueRecipe:
    data: GlueConfig = GlueConfig()
    size: str | None = None
    """A published size, tiny, mini, small, medium, base or large, which then takes the place of the model's
    width, depth, heads and expansion. Runs and folders given to --from know it themselves."""
    vocabulary: str | None = None
    """vocab.txt or tokenizer.json, where neither --from brings one nor one is to be learned from the
    sentences."""
    model: BertConfig = BertConfig(vocabulary=8000, positions=128, width=128, depth=2, heads=2)
    train: SentenceTraining = SentenceTraining()
    plan: Plan = Plan(
        steps=100_000,
        optim=Optim(name="adamw", rate=5e-5, decay=0.01, eps=1e-6),
        schedule=Schedule(kind="linear"),
        clip=1.0,
        evaluate_every=0,
    )


DEFAULT = BertGlueRecipe()

SMOKE = BertGlueRecipe(
    data=GlueConfig(task="SST-2"),
    model=BertConfig(
        vocabulary=200, positions=64, width=64, depth=2, heads=2, dropout=0.0, attention_dropout=0.0
    ),
    train=SentenceTraining(longest=64, epochs=3.0, shown=6),
    plan=replace(DEFAULT.plan, optim=replace(DEFAULT.plan.optim, rate=1e-3)),
)


def build(config: BertGlueRecipe, setting: Setting) -> Chain:
    """One stage for one task and seed; else a stage for each of them, which know nothing of each other, and a
    table of all. The body is that of `--from` once, and that of RUN/assets ever after."""
    names = _tasks(config, setting)
    found = {name: read_glue(config.data, name) for name in names} if setting.training else {}
    body = _body(config, setting, found)
    longest = min(config.train.longest, body.model.positions)
    rows = {name: _rows(config, setting, name, found.get(name), body, longest) for name in names}
    learned_from = _learned_from(setting, found)
    several = len(names) > 1 or config.train.seeds > 1
    seeds = range(setting.seed, setting.seed + config.train.seeds)
    stages = {name: [f"{name}-{seed}" if several else "train" for seed in seeds] for name in names}
    chain = Chain(
        stages=[
            _stage(config, setting, body, rows[name], stage, seed, learned_from[name])
            for name in names
            for seed, stage in zip(seeds, stages[name], strict=True)
        ],
        data=_told(found, _remarks(found, rows, body)) if setting.training else {},
    )
    if not several:
        return chain

    def together(finished: Mapping[str, Any]) -> Any:
        return GlueTogether(finished, stages, rows, learned_from, setting.device, config.train.shown)

    return replace(chain, independent=True, whole=together)


def _tasks(config: BertGlueRecipe, setting: Setting) -> list[str]:
    """The tasks of a run. `all` are those that were there when it began."""
    if config.data.task != "all":
        return [config.data.task]
    return there(config.data) if setting.training else list(_counts(setting))


def _learned_from(setting: Setting, found: Mapping[str, Found]) -> Mapping[str, int]:
    """Rows that each task learns from, which the run folder keeps."""
    if not setting.training:
        return _counts(setting)
    counts = {name: len(one.parts["train"]) for name, one in found.items()}
    write_text(setting.assets / TASKS_FILE, json.dumps(counts, indent=1) + "\n")
    return counts


def _counts(setting: Setting) -> Mapping[str, int]:
    path = setting.assets / TASKS_FILE
    if not path.exists():
        raise RunError(f"{setting.assets.parent} was stopped before it had read its sentences: train again.")
    return json.loads(path.read_text(encoding="utf-8"))


def _body(config: BertGlueRecipe, setting: Setting, found: Mapping[str, Found]) -> TextBody:
    if not setting.training or (setting.assets / "body.json").exists():
        return kept(setting.assets)

    def texts() -> list[str]:
        return [text for one in found.values() for text in one.parts["train"].texts()]

    body = text_body_from(setting.start, config.model, config.size, config.vocabulary, texts)
    keep(body, setting.assets)
    return body


def _rows(
    config: BertGlueRecipe, setting: Setting, name: str, found: Found | None, body: TextBody, longest: int
) -> OpenRows:
    def read() -> Found:
        return found or read_glue(config.data, name, learning=not setting.other_data)

    return OpenRows(TASKS[name], read, body.words, longest)


def _remarks(found: Mapping[str, Found], rows: Mapping[str, OpenRows], body: TextBody) -> list[str]:
    remarks = [remark for one in found.values() for remark in one.remarks]
    said = {"train": "learn from", "test": "measure on"}
    for name, one in rows.items():
        for split, what in said.items():
            part = one.split(split)
            if part is not None and (remark := part.remark(what, one.longest)):
                remarks.append(f"{name}: {remark}")
    remarks.append(f"a vocabulary of {len(body.words):,} entries")
    return remarks


def _told(found: Mapping[str, Found], remarks: Sequence[str]) -> dict[str, Any]:
    """What run.yaml says of the data."""
    fingerprints = [one.fingerprint for one in found.values()]
    counts = {name: one.counts for name, one in found.items()}
    return {
        "source": next(iter(found.values())).source,
        "format": "GLUE",
        "fingerprint": "-".join(one[: 32 // min(4, len(fingerprints))] for one in fingerprints),
        **(counts if len(counts) > 1 else next(iter(counts.values()))),
        "remarks": list(remarks),
    }


def _stage(
    config: BertGlueRecipe,
    setting: Setting,
    body: TextBody,
    rows: OpenRows,
    stage: str,
    seed: int,
    learned_from: int,
) -> Stage:
    def task(_: Mapping[str, Any]) -> SentenceTask:
        with seeded(seed, "model"):
            model = BertClassifier(body.model, max(1, len(rows.task.answers)))
        return SentenceTask(model, rows, config.train, seed, setting.device)

    return Stage(
        name=stage,
        task=task,
        plan=by_epochs(config.plan, config.train, learned_from),
        groups=lambda model: classifier_groups(model, config.train.layer_decay),
    )


# ---------------------------------------------------------------------- asked


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every sentence, or pair of them, the classes and how likely they are, or its score; of several seeds
    what they say together. Inputs are texts, or files with one on every line; a pair has a tab or |||
    between.

    Raises DataError for what is not a pair where one is asked for, RunError for a run of several tasks.
    """
    task = loaded.task
    if isinstance(task, GlueTogether):
        if not task.single:
            one = loaded.run.path / "stages" / next(iter(task.stages.values()))[0]
            raise RunError(
                f"{loaded.run.path} is a run of {len(task.stages)} tasks, and a sentence is asked one "
                "thing.\n"
                f"Give one of its stages, for instance {one}."
            )
        (name,) = task.stages
        asks, readers = TASKS[name], task.readers(name)
    else:
        asks, readers = task.asks, iter([task])
    texts = _texts(inputs)
    pairs = [_pair(text, asks.pairs, asks.name) for text in texts]
    with loaded.precision.autocast():
        said = [reader.say(pairs) for reader in readers]
    return _prediction(asks, texts, combined(asks, said))


def _prediction(asks: Task, texts: Sequence[str], said: Tensor) -> Prediction:
    values, rows = {}, []
    if asks.scored:
        for text, score in zip(texts, said[:, 0].tolist(), strict=True):
            values[text] = {"score": score}
            rows.append([text, f"{score:.2f}"])
        return Prediction(values=values, rows=rows)
    for text, shares in zip(texts, said.softmax(dim=1), strict=True):
        order = shares.argsort(descending=True).tolist()
        top = {asks.answers[number]: float(shares[number]) for number in order}
        values[text] = {"class": asks.answers[order[0]], "probability": float(shares[order[0]]), "top": top}
        rows.append([text, *(f"{name} {share:.1%}" for name, share in top.items())])
    return Prediction(values=values, rows=rows)


def _texts(inputs: Sequence[str]) -> list[str]:
    """The inputs, and in the place of a file its lines."""
    texts: list[str] = []
    for text in inputs:
        if " " not in text and Path(text).suffix in TEXT_FILES:
            texts += [line for line in read_lines(Path(text)) if line.strip()]
        else:
            texts.append(text)
    if not texts:
        raise DataError(f"{', '.join(inputs)}: no sentences, one on a line, in it.")
    return texts


def _pair(text: str, pairs: bool, name: str) -> tuple[str, str | None]:
    parts = [part.strip() for part in (text.split("\t") if "\t" in text else text.split(BETWEEN))]
    if len(parts) != 1 + pairs or not all(parts):
        wanted = f"two sentences with a tab or {BETWEEN} between them" if pairs else "one sentence"
        raise DataError(f"{name} is about {wanted}, but this is not: {text!r}")
    return parts[0], parts[1] if pairs else None


def begin(model: nn.Module, source: str) -> Sequence[str]:
    assert isinstance(model, BertClassifier), "a run of bert-glue trains a BERT with a head"
    return weights_into(model, source)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=SENTENCE_EXPORTS,
    begin=begin,
    may_change=("train.epochs",),
)
