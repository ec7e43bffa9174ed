"""Reading in both directions against reading from left to right (Devlin et al. 2018, sec. 5.1 and table 5).

    rayformer reproduce bidirectional

Three networks of one size learn from the same drawn text for as many steps: BERT's two tasks; blanks alone;
and, as GPT learns, the next word alone, looking back only. A fourth looks both ways and learns nothing. Then
they stand still, and logistic regression is asked what their features know (`metrics/probes.py`), on
sentences that the readers have not seen:

    word_percent       which of two senses a word has, from its own features: "The bat flew out of the cave."
    sentence_percent   the same from the mean over the sentence, when all has been read
    pair_percent       whether two sentences are of one text, from the mean over both

In these sentences nothing before the ambiguous word tells its meaning. Who looks back only cannot know it
there, and stands at chance, 50 %, whatever it has learned; once the sentence has ended it may know as well.
The paper finds as much: without looking ahead, tasks about words suffer (SQuAD: 88.5 to 77.8 F1; recalled,
check the paper), tasks about sentences hardly (SST-2: 92.7 to 92.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.data.text.corpus import CorpusConfig
from rayformer.data.text.grammar import TOPICS, Sense, draw_documents, sense_sentences
from rayformer.data.text.instances import InstanceConfig
from rayformer.data.text.wordpiece import Encoded
from rayformer.engine.plan import Plan
from rayformer.metrics.probes import logistic
from rayformer.nets.bert import BertConfig
from rayformer.nets.parts.ragged import Ragged
from rayformer.recipes.bert import DEFAULT, BertRecipe
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.pretraining import TextTraining
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

BOTH, BLANKS, BACK = "both directions", "both, blanks alone", "left to right"
UNTRAINED = "both, untrained"
PAIRS = 800
"""Asked about; the readers learn from half of them."""
STRENGTH = 0.1
"""Of the readers, against their penalty."""
SEED = 12345
"""Of the sentences asked about, whatever the seed of a run."""
CHANCE = 50.0
AT_ONCE = 64


def cells(smoke: bool) -> Sequence[Cell]:
    model = BertConfig(
        width=48 if smoke else 128, depth=2 if smoke else 3, heads=2 if smoke else 4, positions=64,
        dropout=0.0, attention_dropout=0.0, initial=0.05,
    )  # fmt: skip
    plan: Plan = replace(
        DEFAULT.plan,
        steps=60 if smoke else 1200,
        optim=replace(DEFAULT.plan.optim, rate=2e-3 if smoke else 1e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=10 if smoke else 120),
        evaluate_every=0,
        save_every=0,
    )
    text = InstanceConfig(most=48)
    base = BertRecipe(
        data=CorpusConfig(source="grammar-100" if smoke else "grammar"),
        model=model,
        train=TextTraining(batch=32, text=text, measured=128, shown=4),
        plan=plan,
    )
    alone = replace(base, train=replace(base.train, text=replace(text, next_sentence=False)))
    back = replace(alone, model=replace(model, objective="causal"))
    untrained = replace(base, plan=replace(plan, steps=0))
    return [
        Cell(BOTH, "bert", base),
        Cell(BLANKS, "bert", alone),
        Cell(BACK, "bert", back),
        Cell(UNTRAINED, "bert", untrained),
    ]


# ---------------------------------------------------------------------- measured


def measure(run: Path) -> dict[str, float]:
    """What features of the finished run know, in percent."""
    loaded = open_run(run, device="cpu")
    return {**_of_words(loaded), "pair_percent": _of_pairs(loaded)}


def _of_words(loaded: Loaded) -> dict[str, float]:
    """A reader learns to tell the topic from three of the four things that are said of every word in every
    sense, and is asked about the fourth: which of the word's two topics it finds likelier. Each takes its
    turn."""
    wordpiece, drawn = loaded.task.wordpiece, sense_sentences()
    tokens, ragged = _features(loaded, wordpiece.encode_all([one.text for one in drawn]))
    # [CLS] the WORD: of a word in pieces the last, which has seen the others.
    inside = [len(pieces) for pieces in wordpiece.pieces([one.word for one in drawn])]
    at = ragged.starts + torch.tensor(inside) + 1
    return {
        "word_percent": _told(tokens[at], drawn),
        "sentence_percent": _told(_means(tokens, ragged), drawn),
    }


def _told(features: Float[Tensor, "batch features"], drawn: Sequence[Sense]) -> float:
    topics = sorted(TOPICS)
    own, other = (
        torch.tensor([topics.index(topic) for topic in some])
        for some in ([one.topic for one in drawn], [one.other for one in drawn])
    )
    folds = torch.tensor([one.fold for one in drawn])
    right = []
    for fold in folds.unique():
        asked = folds == fold
        said = logistic(features[~asked], own[~asked], len(topics), STRENGTH)(features[asked])
        ahead = said.gather(1, own[asked][:, None]) - said.gather(1, other[asked][:, None])
        right.append((1 + ahead.sign()) / 2)  # who finds both alike is right half of the time
    return 100 * float(torch.cat(right).mean())


def _of_pairs(loaded: Loaded) -> float:
    """Neighbours in one document, against sentences of two documents about different topics."""
    documents = draw_documents(PAIRS, SEED)  # topics take turns: neighbours have different ones
    firsts, seconds, labels = [], [], []
    for number, document in enumerate(documents):
        other = number % 2
        source = documents[(number + 1) % len(documents)] if other else document
        firsts.append(document[1])
        seconds.append(source[2])
        labels.append(other)
    tokens, ragged = _features(loaded, loaded.task.wordpiece.encode_all(firsts, seconds))
    return _accuracy(_means(tokens, ragged), torch.tensor(labels))


@torch.no_grad()
def _features(loaded: Loaded, encoded: Sequence[Encoded]) -> tuple[Float[Tensor, "tokens width"], Ragged]:
    """What the last block says of every token, in float32."""
    found = []
    for first in range(0, len(encoded), AT_ONCE):
        some = encoded[first : first + AT_ONCE]
        words, kinds = (
            torch.cat([torch.from_numpy(getattr(one, name)) for one in some]) for name in ("words", "kinds")
        )
        found.append(loaded.model.get_submodule("bert")(words, kinds, Ragged([len(one) for one in some])))
    return torch.cat(found), Ragged([len(one) for one in encoded])


def _means(tokens: Float[Tensor, "tokens width"], ragged: Ragged) -> Float[Tensor, "batch width"]:
    sums = tokens.new_zeros(len(ragged), tokens.shape[1]).index_add_(0, ragged.owners, tokens)
    return sums / ragged.lengths[:, None]


def _accuracy(features: Float[Tensor, "batch features"], labels: Int[Tensor, "batch"]) -> float:
    """Of the second half, in percent, by a reader that learned from the first."""
    half = len(labels) // 2
    reader = logistic(features[:half], labels[:half], 2, STRENGTH)
    return 100 * reader.accuracy(features[half:], labels[half:])


# ---------------------------------------------------------------------- judged and drawn

METRICS = ("word_percent", "sentence_percent", "pair_percent")


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """Both networks that learned to look ahead know at the word what the others do not, by more than seeds
    differ."""
    words = {name: row.median("word_percent") for name, row in measured.items()}
    ahead, back = min(words[BOTH], words[BLANKS]), max(words[BACK], words[UNTRAINED])
    apart = max(row.spread("word_percent") for row in measured.values())
    sentences = {name: row.median("sentence_percent") for name, row in measured.items()}
    told = "; ".join(
        f"{name}: {words[name]:.1f} at the word, {sentences[name]:.1f} from the sentence" for name in measured
    )
    return Verdict(
        holds=ahead - back > max(apart, 10.0),
        reason=f"percent of ambiguous words whose sense the features tell (chance is {CHANCE:.0f}), {told}",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    names = {
        "word_percent": "at the word",
        "sentence_percent": "whole sentence",
        "pair_percent": "of one text",
    }

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        width = 0.8 / len(measured)
        for number, (name, row) in enumerate(measured.items()):
            places = [spot + number * width for spot in range(len(METRICS))]
            heights = [row.median(metric) for metric in METRICS]
            axes.bar(places, heights, width * 0.92, label=name)
            for place, metric in zip(places, METRICS, strict=True):
                seeds = [result[metric] for result in row.results]
                axes.plot([place] * len(seeds), seeds, "k.", ms=4)
        axes.axhline(CHANCE, color="0.4", lw=1, ls="--")
        axes.set_xticks(
            [spot + 0.4 - width / 2 for spot in range(len(METRICS))], [names[one] for one in METRICS]
        )
        axes.set(ylabel="percent right, by logistic regression", ylim=(40, 102))
        axes.legend(loc="lower right", fontsize=8)

    caption = (
        "what frozen features know, dots are seeds, the dashed line is chance: a word whose meaning is told "
        "only behind "
        "it, that word once its sentence has ended, whether two sentences are of one text"
    )
    return {"features": curves(onto, (6.6, 4.0), caption)}


CLAIM = Claim(
    name="bidirectional",
    statement="features that look both ways know what a word means where it stands, "
    "those that look back only do not",
    paper="Devlin et al. 2018, section 5.1 and table 5",
    metrics=METRICS,
    cells=cells,
    judge=judge,
    draw=draw,
    seeds=(0, 1, 2),
    measure=measure,
)
