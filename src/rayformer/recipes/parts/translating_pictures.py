"""What a person would look at of a network that makes one text of another.

Answer            a question, what was said, and what is true
show_answers      some answers, mistakes first; and for a few of them who looked at whom
attention_table   the weights of encoder, decoder and between them, words at the edges
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from rayformer.data.text.vocabulary import BEGIN, END, Vocabulary
from rayformer.nets.transformer import Transformer, attention
from rayformer.runs.pictures import Picture

LISTED = 20
"""Answers on the list."""
BLOCKS = 4
"""Blocks of a network that are shown, the last one among them."""
WORDS = 40
"""Pieces of a text up to which its attention can be read."""
RIGHT, WRONG = "#2a6f77", "#b3423a"


@dataclass(frozen=True)
class Answer:
    source: str
    said: str
    truth: str

    @property
    def right(self) -> bool:
        return self.said == self.truth


def show_answers(
    model: Transformer,
    vocabulary: Vocabulary,
    answers: Sequence[Answer],
    shown: int,
    device: torch.device,
) -> dict[str, Picture]:
    """A list of answers, half of them mistakes where there are as many; and the attention of `shown` answers,
    spread over all of them."""
    wrong = [answer for answer in answers if not answer.right]
    right = [answer for answer in answers if answer.right]
    listed = _spread(wrong, LISTED // 2)
    listed += _spread(right, LISTED - len(listed))
    pictures = {"answers/list": answer_list(listed, len(right), len(answers))} if answers else {}
    for number, answer in enumerate(_spread(answers, shown)):
        picture = attention_table(model, vocabulary, answer, device)
        if picture is not None:
            pictures[f"attention/{number:02d}"] = picture
    return pictures


def _spread(answers: Sequence[Answer], count: int) -> list[Answer]:
    places = np.unique(np.linspace(0, len(answers) - 1, min(count, len(answers))).round().astype(int))
    return [answers[place] for place in places] if len(answers) else []


def answer_list(answers: Sequence[Answer], right: int, total: int) -> Picture:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 + 0.26 * len(answers)), dpi=100)
    for row, answer in enumerate(answers):
        height = 1 - (row + 0.7) / (len(answers) + 0.6)
        plain = {"family": "monospace", "fontsize": 9, "parse_math": False}
        figure.text(0.02, height, _short(answer.source, 44), **plain)
        colour = RIGHT if answer.right else WRONG
        said = answer.said if answer.right else f"{answer.said}   ({answer.truth})"
        figure.text(0.47, height, _short(said, 56), color=colour, **plain)
    return Picture(_drawn(figure), f"{right:,} of {total:,} answers are right; behind a wrong one, the truth")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


@torch.no_grad()
def attention_table(
    model: Transformer, vocabulary: Vocabulary, answer: Answer, device: torch.device
) -> Picture | None:
    """Row by row a word that looks, column by column one that is looked at, as the mean over heads; None for
    what is too long to be read."""
    from matplotlib.figure import Figure

    source, said = (numbers for numbers in vocabulary.encode([answer.source, answer.said]))
    if max(len(source), len(said)) >= WORDS:
        return None
    source, target, spoken = [*source, END], [BEGIN, *said], [*said, END]
    weights = attention(model, torch.tensor([source], device=device), torch.tensor([target], device=device))
    asked, heard, answered = (vocabulary.shown(words) for words in (source, target, spoken))
    edges = {"encoder": (asked, asked), "decoder": (answered, heard), "across": (answered, asked)}
    titles = {"encoder": "source to source", "decoder": "answer to answer", "across": "answer to source"}
    depth = model.config.depth
    layers = np.unique(np.linspace(depth - 1, 0, min(BLOCKS, depth)).round().astype(int)).tolist()
    # Cells of one size, whatever they show.
    rows, columns = len(asked) + 2 * len(answered), max(len(asked), len(heard))
    side = min(0.24, 12 / rows)
    figure = Figure(
        figsize=(len(layers) * (side * columns + 0.7) + 0.3, side * rows + 2.6), dpi=100, layout="constrained"
    )
    grid = figure.subplots(
        3, len(layers), squeeze=False, height_ratios=[len(asked), len(answered), len(answered)]
    )
    for row, (kind, (down, over)) in enumerate(edges.items()):
        for column, layer in enumerate(layers):
            axes = grid[row, column]
            table = weights[kind][layer][0].mean(dim=0).float().cpu().numpy()
            axes.imshow(table, cmap="Blues", vmin=0, vmax=max(0.2, float(table.max())), aspect="equal")
            axes.set_xticks(range(len(over)), over, rotation=90, fontsize=7, parse_math=False)
            axes.set_yticks(range(len(down)), down, fontsize=7, parse_math=False)
            axes.set_title(f"{titles[kind]}, block {layer + 1}", fontsize=8)
    known = "right" if answer.right else f"wrong, it is {answer.truth}"
    return Picture(
        _drawn(figure), f"{answer.source} -> {answer.said} ({known}): who looked at whom, mean of heads"
    )


def _drawn(figure) -> np.ndarray:  # a matplotlib figure, which is slow to import
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box in its place is seen
        figure.savefig(buffer, format="png")
    buffer.seek(0)
    return np.asarray(Image.open(buffer).convert("RGB"))
