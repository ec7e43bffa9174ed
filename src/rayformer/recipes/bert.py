"""BERT (Devlin et al. 2018, arXiv:1810.04805): a network reads text in both directions at once, and learns
from blanks that it fills in and from sentences that do or do not follow each other.

rayformer train bert --data my_texts
rayformer train bert --data my_texts --size mini --train.text.whole-words
rayformer train bert --data my_texts --from bert-base-uncased/ --size base
rayformer train bert --data my_texts --model.objective causal --train.text.next-sentence false
rayformer train bert --smoke
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.core.seeds import seeded
from rayformer.data.text.corpus import Corpus, CorpusConfig, Pieces, read_corpus
from rayformer.data.text.instances import InstanceConfig
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.nets.bert import SIZES, BertConfig, BertPretraining
from rayformer.nets.weights.bert import BERT
from rayformer.recipes.parts.bert_exports import BERT_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.fill_blanks import predict
from rayformer.recipes.parts.pretraining import OpenText, PretrainingTask, TextTraining, pretraining_groups
from rayformer.recipes.parts.wordpieces import kept_wordpiece


@dataclass(frozen=True, kw_only=True)
class BertRecipe:
    data: CorpusConfig = CorpusConfig()
    size: str | None = None
    """A published size, tiny, mini, small, medium, base or large, which then takes the place of the model's
    width, depth, heads and expansion."""
    model: BertConfig = BertConfig(width=256, depth=4, heads=4, initial=0.035)
    train: TextTraining = TextTraining()
    plan: Plan = Plan(
        steps=3000,
        optim=Optim(name="bert-adam", rate=5e-4, eps=1e-6, decay=0.01),
        schedule=Schedule(kind="linear", warmup_steps=300),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = BertRecipe()

SMOKE = BertRecipe(
    data=CorpusConfig(source="grammar-400"),
    model=BertConfig(
        width=64, depth=2, heads=4, positions=64, dropout=0.0, attention_dropout=0.0, initial=0.07
    ),
    train=TextTraining(batch=32, text=InstanceConfig(most=48), measured=128, shown=4),
    plan=replace(
        DEFAULT.plan,
        steps=1000,
        optim=replace(DEFAULT.plan.optim, rate=1.5e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=100),
        evaluate_every=0,
        save_every=500,
    ),
)


def build(config: BertRecipe, setting: Setting) -> Chain:
    if config.train.text.most > config.model.positions:
        raise ConfigError(
            f"train.text.most is {config.train.text.most} tokens, but there are model.positions="
            f"{config.model.positions}: a place is a learned vector.\n"
            "Raise model.positions, or lower train.text.most."
        )
    data, found = open_text(config, setting)
    with seeded(setting.seed, "model"):
        model = BertPretraining(replace(sized(config.model, config.size), vocabulary=len(data.wordpiece)))
    if not config.train.text.next_sentence:  # what is never asked would only decay
        model.bert.pool.requires_grad_(False)
        model.follows.requires_grad_(False)
    task = PretrainingTask(model, data, config.train, setting)
    stage = Stage(name="train", task=lambda _: task, plan=config.plan, groups=pretraining_groups)
    return Chain(stages=[stage], data=found)


def sized(model: BertConfig, size: str | None) -> BertConfig:
    """The config with a published size laid over it. Raises ConfigError for a size that nobody published."""
    if size is None:
        return model
    if size not in SIZES:
        raise ConfigError(
            f"size must be one of {', '.join(SIZES)}, but is {size!r}.{did_you_mean(size, SIZES)}"
        )
    as_published = SIZES[size]
    return replace(
        model,
        width=as_published.width,
        depth=as_published.depth,
        heads=as_published.heads,
        expansion=as_published.expansion,
    )


def open_text(config: BertRecipe, setting: Setting) -> tuple[OpenText, dict[str, Any]]:
    """The corpus of a run with its vocabulary, and what run.yaml says of them. A finished run reads its
    corpus only where it is measured. Raises DataError where there is one document, unless words are learned
    alone."""
    read = _reader(config, setting)
    wordpiece, said = kept_wordpiece(setting, config.data.vocabulary, lambda: _learned(config.data, read()))
    data = OpenText(wordpiece, read, whole=setting.other_data)
    if not setting.training:
        return data, {}
    corpus = data.corpus
    if config.train.text.next_sentence and len(data.train) < 2:
        raise DataError(
            f"{corpus.source}: one document only, so that no sentence can come from another one, and whether "
            "one follows the other cannot be learned.\n"
            "Say what ends a document with --data.documents (blank-lines, files or headings), "
            "or learn words alone with --train.text.next-sentence false."
        )
    found = {
        "source": corpus.source,
        "format": corpus.format,
        "fingerprint": corpus.fingerprint,
        **corpus.counts,
        "pieces": len(data.train.words) + len(data.held_out.words),
        "vocabulary": len(wordpiece),
        "remarks": [*corpus.remarks, *([said] if said else []), *_about_lengths(data.train, config)],
    }
    return data, found


def _reader(config: BertRecipe, setting: Setting) -> Callable[[], Corpus]:
    """Reads the corpus once."""
    kept: list[Corpus] = []

    def read() -> Corpus:
        if not kept:
            kept.append(read_corpus(config.data))
        return kept[0]

    return read


def _learned(data: CorpusConfig, corpus: Corpus) -> WordPiece:
    texts = [sentence for document in corpus.train for sentence in document]
    return WordPiece.train(texts, data.vocabulary_size, data.lower)


def _about_lengths(pieces: Pieces, config: BertRecipe) -> list[str]:
    """How many sentences are longer than a segment can be."""
    most = config.train.text.most
    lengths = np.diff(pieces.sentences)
    long = int((lengths > most - 3).sum())
    if not long:
        return []
    what = "are cut" if config.train.text.next_sentence else "are read in parts"
    return [
        f"{long:,} of {len(lengths):,} sentences are longer than {most} tokens (train.text.most) and {what}; "
        f"the longest has {int(lengths.max()):,}"
    ]


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=BERT_EXPORTS,
    begin=begun_from(BERT),
)
