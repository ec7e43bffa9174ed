"""A network that reads sentences, with the vocabulary that it reads them by: from a run, from files that
others published, or new.

    TextBody         what it is made of, without its weights
    text_body_from   the body that `--from` names; without it, a new one with a vocabulary of its own
    weights_into     its weights, from the same place
    keep, kept       into a run folder and back, so that the run needs its source no more

A published checkpoint is a folder with config.json, vocab.txt or tokenizer.json, and weights; of a file of
weights, these are looked for beside it. What is not there has to be said: `--vocabulary` and `--size`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rayformer.core.config import from_plain, to_plain
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.text.wordpiece import FILES, WordPiece
from rayformer.engine.chain import best_weights
from rayformer.nets.bert import SIZES, BertConfig
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.weights.bert import config_of
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.files import beside
from rayformer.nets.weights.loading import load, put
from rayformer.recipes import bert
from rayformer.recipes.parts.wordpieces import FOLDER
from rayformer.runs.atomic import write_text
from rayformer.runs.run import Run

TRAINED = ("dropout", "attention_dropout")
"""Fields of a network that are a matter of training: those of the recipe count, whatever the source had."""
BODY = "body.json"
"""What the architecture is called in RUN/assets; words are where those of `bert` are."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextBody:
    model: BertConfig
    words: WordPiece


def text_body_from(
    start: str | None,
    model: BertConfig,
    size: str | None,
    vocabulary: str | None,
    texts: Callable[[], Sequence[str]],
) -> TextBody:
    """`texts` gives what a vocabulary is learned from, where none is brought: of `model.vocabulary` entries
    at most.

    Raises ConfigError where it is not said what the body is made of, DataError for files that do not say what
    they should or do not belong together, RunError for a broken run.
    """
    if start is not None and is_run(start):
        if size is not None or vocabulary is not None:
            raise ConfigError(
                f"--size and --vocabulary are for weights by themselves, but {start} is a run.\n"
                "It knows what its network is made of, and its words: leave them out."
            )
        return _as_trained(_of_run(Run.open(start).root), model)
    if start is not None:
        return _as_trained(_published(start, model, size, vocabulary), model)
    words = WordPiece.load(vocabulary) if vocabulary else WordPiece.train(texts(), model.vocabulary)
    made = bert.sized(model, size)
    return _as_trained(TextBody(model=replace(made, vocabulary=len(words)), words=words), model)


def is_run(start: str) -> bool:
    """Whether it is a run folder, or that of a stage."""
    path = Path(start)
    root = path.parent.parent if path.parent.name == "stages" else path
    return (root / "run.yaml").exists()


def weights_into(model: BertClassifier, start: str) -> Sequence[str]:
    """Weights of pre-training, of another fine-tuning or of a published checkpoint; what to say of them. The
    head is left as it was where it is for other answers. Raises DataError for weights of another
    architecture, RunError for a run without any."""
    if not is_run(start):
        return load(model, start, BERT_CLASSIFIER).lines()
    weights, step = best_weights(Run.open(start))
    return put(model, weights, BERT_CLASSIFIER, f"{start}, step {step}").lines()


def _as_trained(body: TextBody, model: BertConfig) -> TextBody:
    return replace(body, model=replace(body.model, **{name: getattr(model, name) for name in TRAINED}))


def _of_run(run: Run) -> TextBody:
    name = run.manifest["recipe"]
    if (run.assets / BODY).exists():
        return kept(run.assets)
    if name != "bert":
        raise ConfigError(
            f"{run.path} is a run of {name}, which reads no sentences.\n"
            "Give --from a run of bert or bert-glue."
        )
    if not (run.assets / FOLDER).exists():
        raise RunError(f"{run.path} was stopped before it had its words: train it first.")
    plain, words = run.manifest.get("config", {}), WordPiece.load(run.assets / FOLDER)
    config = from_plain(bert.BertRecipe, plain, where=str(run.path / "run.yaml"))
    model = bert.sized(config.model, config.size)
    return TextBody(model=replace(model, vocabulary=len(words)), words=words)


def _published(start: str, model: BertConfig, size: str | None, vocabulary: str | None) -> TextBody:
    folder = beside(start, ("config.json", *FILES))
    words_at = Path(vocabulary) if vocabulary else _holding(folder, FILES)
    if words_at is None:
        raise ConfigError(
            f"{start}: no {' or '.join(FILES)} beside the weights, which mean nothing without their words.\n"
            "Name the vocabulary with --vocabulary FILE."
        )
    words = WordPiece.load(words_at)
    if size is None and _holding(folder, ("config.json",)) is not None:
        made = config_of(folder)
        if len(words) > made.vocabulary:
            raise DataError(
                f"{words_at} has {len(words):,} entries, but {folder / 'config.json'} says that the network "
                f"has {made.vocabulary:,}.\nThey belong to different networks: name the right one with "
                "--vocabulary FILE."
            )
        return TextBody(model=made, words=words)
    if size is None:
        raise ConfigError(
            f"{start}: no config.json beside the weights, so nobody knows how large the network is.\n"
            f"Say so with --size NAME ({', '.join(SIZES)})."
        )
    return TextBody(model=replace(bert.sized(_as_file(model), size), vocabulary=len(words)), words=words)


def _as_file(model: BertConfig) -> BertConfig:
    """Of what a size does not say, what published weights have; positions too, of which a network may have
    fewer than its file."""
    published = BertConfig()
    return replace(model, positions=published.positions, kinds=published.kinds, objective="mlm")


def _holding(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def keep(body: TextBody, assets: Path) -> None:
    """Raises RunError where the disk refuses."""
    body.words.save(assets / FOLDER)
    write_text(assets / BODY, json.dumps(to_plain(body.model), indent=1) + "\n")


def kept(assets: Path) -> TextBody:
    """Raises ConfigError where the file was changed into something else, RunError where there is none."""
    path = assets / BODY
    if not path.exists():
        raise RunError(f"{assets.parent} was stopped before it knew its network: train again.")
    plain: Any = json.loads(path.read_text(encoding="utf-8"))
    return TextBody(
        model=from_plain(BertConfig, plain, where=str(path)), words=WordPiece.load(assets / FOLDER)
    )
