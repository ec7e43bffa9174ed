"""What a network that learned to read says of sentences that it has never seen.

predict     sentences with [MASK] filled in; of pairs, A ||| B, whether B comes next after A
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rayformer.core.errors import DataError
from rayformer.data.text.lines import read_lines
from rayformer.data.text.wordpiece import MASK, Encoded
from rayformer.engine.task import Prediction
from rayformer.nets.parts.ragged import Ragged
from rayformer.recipes.parts.open import Loaded

LIKELIEST = 5
"""Words that are named for each blank."""
AT_ONCE = 32
BETWEEN = "|||"
"""What parts the two sentences of a pair."""


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every text, or every line of a file, the likeliest words for each [MASK], and for a pair how likely
    the second sentence follows the first. What is too long is cut, and how much is said. Raises DataError for
    a text that asks nothing."""
    task, texts = loaded.task, _texts(inputs)
    # What was never trained is not asked.
    pairs_known = task.next_sentence
    encoded = [_encoded(loaded, text, pairs_known) for text in texts]
    values: dict[str, Any] = {}
    rows: list[list[str]] = []
    for first in range(0, len(texts), AT_ONCE):
        some = encoded[first : first + AT_ONCE]
        ragged = Ragged([len(one) for one in some], loaded.device)
        words, kinds = (
            torch.cat([torch.from_numpy(getattr(one, name)) for one in some]).to(loaded.device)
            for name in ("words", "kinds")
        )
        at = torch.nonzero(words == task.wordpiece.mask).flatten()
        with loaded.precision.autocast():
            shares, follows = task.guesses(words, kinds, ragged, at)
        owners = ragged.owners[at].tolist()
        tops = shares.topk(min(LIKELIEST, shares.shape[1]))
        for row, (text, one) in enumerate(zip(texts[first : first + AT_ONCE], some, strict=True)):
            mine = [number for number, owner in enumerate(owners) if owner == row]
            blanks = [_named(task, tops.indices[number], tops.values[number]) for number in mine]
            said: dict[str, Any] = {"blanks": blanks, "cut": one.cut}
            if blanks:
                best = one.words.copy()
                best[one.words == task.wordpiece.mask] = tops.indices[mine, 0].cpu().numpy()
                said["filled"] = task.wordpiece.text(best.tolist())
            if one.kinds.any():
                said["follows"] = float(follows[row, 0])
            values[text] = said
            rows += _rows(text, said)
    return Prediction(values=values, rows=rows)


def _texts(inputs: Sequence[str]) -> list[str]:
    """The inputs; of those that are files, their lines."""
    found: list[str] = []
    for one in inputs:
        found += [line for line in read_lines(Path(one)) if line.strip()] if _is_file(one) else [one]
    if not found:
        raise DataError(f"{', '.join(inputs)}: no sentence in it.")
    return found


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than a name can be, or with what none can hold
        return False


def _encoded(loaded: Loaded, text: str, pairs_known: bool) -> Encoded:
    task = loaded.task
    first, parted, second = text.partition(BETWEEN)
    if not parted and MASK not in text:
        raise DataError(
            f"{text!r} asks nothing: write {MASK} where a word is to be filled in, "
            f"or two sentences as 'A {BETWEEN} B' to hear whether B follows A."
        )
    if parted and not pairs_known:
        raise DataError(
            f"{text!r} is a pair, but this run learned words alone (train.text.next_sentence was off)."
        )
    most = task.model.config.positions
    return task.wordpiece.encode(first.strip(), second.strip() if parted else None, most)


def _named(task: Any, numbers: torch.Tensor, shares: torch.Tensor) -> dict[str, float]:
    names = task.wordpiece.words(numbers.tolist())
    return dict(zip(names, shares.tolist(), strict=True))


def _rows(text: str, said: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "filled" in said:
        rows.append([text, said["filled"]])
    for blank in said["blanks"]:
        rows.append(["", "  ".join(f"{word} {share:.1%}" for word, share in blank.items())])
    if "follows" in said:
        rows.append([text if not rows else "", f"follows: {said['follows']:.1%}"])
    if not rows:
        rows.append([text, "the blank was cut off"])
    if said["cut"]:
        rows.append(["", f"{said['cut']} pieces were cut off: longer than the network's positions"])
    return rows
