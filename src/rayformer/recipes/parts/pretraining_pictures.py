"""What a person would look at of a network that learned to fill in blanks.

Reading             what a task must have for it
Asked               held-out sentences with their blanks, and what the network said
show_pretraining    blanks with the likeliest words, whether pairs were told apart, attention, words as places
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.data.text.instances import Masked
from rayformer.data.text.wordpiece import SPECIAL, WordPiece
from rayformer.nets.bert import BertPretraining, attention
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

LIKELIEST = 3
"""Words that are shown for each blank."""
BLANKS = 4
"""Blanks of a sentence that are shown."""
LOOKED_AT = 24
"""Tokens of the longest sentence whose attention can be read in a picture."""
HEADS, LAYERS = 4, 3
"""Of which attention is shown at most."""
PLACED = 70
"""Words that are shown as places."""


@runtime_checkable
class Reading(Protocol):
    """A task whose model fills in blanks."""

    model: BertPretraining
    causal: bool
    device: torch.device

    @property
    def wordpiece(self) -> WordPiece: ...

    @property
    def next_sentence(self) -> bool: ...


class Asked:
    """Sentences with blanks, the shortest of each batch, and how sure the network was of all pairs."""

    def __init__(self, most: int):
        self.most = most
        self.sentences: list[tuple[list[int], dict[int, tuple[int, Tensor]]]] = []
        """Words as they were read, and by the place of each blank the truth and what was said of it."""
        self.follows: tuple[list[float], list[float]] = [], []
        """How likely it was said that a sentence follows: of those that do, and of those that do not."""
        self.counts: dict[int, int] = {}
        """How often each word was the truth."""

    def add(
        self, some: Masked, said: Float[Tensor, "picked outputs"], follows: Float[Tensor, "batch"]
    ) -> None:
        ends = np.cumsum(some.lengths)
        for elsewhere, share in zip(some.elsewhere.tolist(), follows.tolist(), strict=True):
            self.follows[elsewhere].append(share)
        for word in some.truth.tolist():
            self.counts[word] = self.counts.get(word, 0) + 1
        middle = len(ends) // 3  # neither the shortest nor so long that nobody reads it
        for row in range(middle, len(ends)):
            if len(self.sentences) >= self.most or row > middle + 1:
                break
            first, last = int(ends[row] - some.lengths[row]), int(ends[row])
            blanks = {
                int(place) - first: (int(truth), logits.softmax(dim=0))
                for place, truth, logits in zip(some.picked, some.truth, said, strict=True)
                if first <= place < last
            }
            self.sentences.append((some.words[first:last].tolist(), blanks))


def show_pretraining(task: Any, asked: Asked, numbers: Mapping[str, float]) -> dict[str, Picture]:
    """Pictures by name; `task` is Reading."""
    assert isinstance(task, Reading), "only a task whose model fills in blanks is shown so"
    shown = {}
    if asked.sentences:
        shown["blanks"] = _blanks(task, asked, numbers)
    if task.next_sentence:
        shown["next"] = _next(asked, numbers)
    short = [words for words, _ in asked.sentences if len(words) <= LOOKED_AT]
    if asked.sentences:
        words = short[0] if short else asked.sentences[0][0][:LOOKED_AT]
        shown["attention"] = _attention(task, words)
    placed = _placed(task, asked)
    return shown if placed is None else {**shown, "words": placed}


def _blanks(task: Reading, asked: Asked, numbers: Mapping[str, float]) -> Picture:
    """Each sentence as it was read, then its blanks, one to a line."""
    lines: list[tuple[str, str]] = []
    for words, blanks in asked.sentences:
        read = " ".join(task.wordpiece.words(words))
        lines += [(part, "black") for part in _wrapped(read, 110)]
        for place, (truth, shares) in sorted(blanks.items())[:BLANKS]:
            top = shares.topk(LIKELIEST)
            names = task.wordpiece.words(top.indices.tolist())
            said = ", ".join(
                f"{name} {share:.0%}" for name, share in zip(names, top.values.tolist(), strict=True)
            )
            told = f"    {'after' if task.causal else 'at'} token {place}: {said}"
            right = int(top.indices[0]) == truth
            lines.append(
                (told if right else f"{told}    (was {task.wordpiece.words([truth])[0]})",
                 "tab:green" if right else "tab:red")
            )  # fmt: skip
        lines.append(("", "black"))

    def onto(figure: Any) -> None:
        for row, (text, colour) in enumerate(lines):
            # A dollar sign would begin a formula.
            figure.text(
                0.01, 1 - (row + 1) / (len(lines) + 1), text.replace("$", r"\$"), color=colour, fontsize=9,
                family="monospace", va="center",
            )  # fmt: skip

    caption = (
        f"held-out sentences as the network reads them, and what it says of their "
        f"{'next words' if task.causal else 'blanks'}: green where the likeliest is right "
        f"({numbers['words_accuracy']:.0%} of all)"
    )
    return curves(onto, (10.0, 0.21 * (len(lines) + 1)), caption)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def _next(asked: Asked, numbers: Mapping[str, float]) -> Picture:
    def onto(figure: Any) -> None:
        axes = figure.subplots()
        bins = np.linspace(0, 1, 21)
        for shares, label, colour in zip(
            asked.follows, ("does follow", "is from elsewhere"), ("tab:blue", "tab:orange"), strict=True
        ):
            axes.hist(shares, bins=bins, alpha=0.6, label=f"{label} ({len(shares)})", color=colour)
        axes.set(xlabel="how likely the network finds it that the second segment follows", ylabel="pairs")
        axes.legend()

    return curves(
        onto,
        (6.4, 3.6),
        f"held-out pairs by what the network says: {numbers['next_accuracy']:.1%} are told rightly",
    )


def _attention(task: Reading, words: list[int]) -> Picture:
    numbers = torch.tensor(words, device=task.device)
    between = task.wordpiece.between
    kinds = torch.zeros_like(numbers)
    kinds[words.index(between) + 1 if between in words else len(words) :] = 1
    weights = [layer[0].float().cpu().numpy() for layer in attention(task.model.bert, numbers, kinds)]
    layers = sorted({0, len(weights) // 2, len(weights) - 1})[:LAYERS]
    heads = min(HEADS, len(weights[0]))
    names = task.wordpiece.words(words)

    def onto(figure: Any) -> None:
        grid = figure.subplots(len(layers), heads, squeeze=False)
        for row, layer in enumerate(layers):
            for head in range(heads):
                axes = grid[row][head]
                axes.imshow(weights[layer][head], cmap="magma_r", vmin=0)
                axes.set_title(f"block {layer + 1}, head {head + 1}", fontsize=8)
                axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
                axes.set_yticks(range(len(names)), names if head == 0 else [""] * len(names), fontsize=6)

    size = max(2.2, 0.13 * len(names))
    return curves(
        onto, (1.0 + size * heads, 0.9 * (size + 0.5) * len(layers)),
        "what each token (row) looked at (column): darker is more, the darkest the most in this head",
    )  # fmt: skip


def _placed(task: Reading, asked: Asked) -> Picture | None:
    """The most frequent whole words where the two strongest directions of their vectors put them."""
    often = sorted(asked.counts, key=lambda word: (-asked.counts[word], word))
    names = dict(zip(often, task.wordpiece.words(often), strict=True))
    chosen = [word for word in often if names[word].isalpha() and len(names[word]) > 2]
    chosen = [word for word in chosen if names[word] not in SPECIAL][:PLACED]
    if len(chosen) < 8:
        return None
    vectors = task.model.bert.words.weight[torch.tensor(chosen, device=task.device)].double().cpu()
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(dim=0), dim=1)
    strength = torch.linalg.svd(vectors, full_matrices=False)
    places = (vectors @ strength.Vh[:2].T).numpy()

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        axes.scatter(*places.T, s=4, color="0.7")
        for word, place in zip(chosen, places, strict=True):
            axes.annotate(names[word], place, fontsize=7)
        axes.set_xticks([])
        axes.set_yticks([])

    return curves(
        onto, (7.5, 6.0),
        "the words asked about most, where the two strongest directions of their vectors put them: words "
        "that stand in like places lie side by side",
    )  # fmt: skip
