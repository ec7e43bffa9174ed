"""What others call the weights that we call otherwise.

    Rename      one rule: their name and ours, with places that stand for any one word
    Pack        several tensors of one side that the other side keeps as one
    renamed     weights under the other side's names, and what no rule knew

A family of networks has one tuple of rules for each format (`nets/weights/vit.py` and its neighbours). Rules
work in both directions, so what reads a format also writes it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Rename:
    """`Rename("blocks.{i}.attn.proj.{part}", "blocks.{i}.attention.to_output.{part}")`: every place stands
    for one word, without dots, the same on both sides."""

    theirs: str
    ours: str

    def __post_init__(self):
        assert set(PLACE.findall(self.theirs)) == set(PLACE.findall(self.ours)), f"{self}: places must agree"


@dataclass(frozen=True)
class Pack:
    """Several of their tensors are one of ours, one after the other along the first axis: queries, keys and
    values, say."""

    theirs: tuple[str, ...]
    ours: str


Rules = Sequence[Rename | Pack]


def renamed(theirs: Mapping[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors under our names, and the names that no rule knows. The first rule that fits counts."""
    ours: dict[str, Tensor] = {}
    parts: dict[str, dict[int, Tensor]] = {}
    whole: dict[str, int] = {}
    unknown: list[str] = []
    for name, tensor in theirs.items():
        for rule in rules:
            if isinstance(rule, Rename):
                if (found := _filled(rule.theirs, rule.ours, name)) is not None:
                    ours[found] = tensor
                    break
                continue
            places = [_filled(their, rule.ours, name) for their in rule.theirs]
            if (row := next((row for row, found in enumerate(places) if found), None)) is not None:
                parts.setdefault(str(places[row]), {})[row] = tensor
                whole[str(places[row])] = len(places)
                break
        else:
            unknown.append(name)
    for name, rows in parts.items():
        if len(rows) == whole[name]:
            ours[name] = torch.cat([rows[row] for row in range(whole[name])])
        else:
            unknown.append(f"{name} (in part)")
    return ours, unknown


def published_names(ours: Mapping[str, Tensor], rules: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """The way back: our tensors under their names, and the names that no rule knows."""
    theirs: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in ours.items():
        for rule in rules:
            if isinstance(rule, Rename):
                if (found := _filled(rule.ours, rule.theirs, name)) is not None:
                    theirs[found] = tensor
                    break
                continue
            names = [_filled(rule.ours, their, name) for their in rule.theirs]
            if names[0] is not None:
                pieces = tensor.chunk(len(names))
                theirs |= {str(their): piece for their, piece in zip(names, pieces, strict=True)}
                break
        else:
            unknown.append(name)
    return theirs, unknown


def _filled(pattern: str, template: str, name: str) -> str | None:
    """The template with the words that stand in the pattern's places in the name; None if it does not fit."""
    words = PLACE.split(pattern)
    # Every second word is the name of a place; one that comes again must be filled as before.
    regex = "".join(
        re.escape(word)
        if row % 2 == 0
        else (f"(?P={word})" if word in words[1:row:2] else f"(?P<{word}>[^.]+)")
        for row, word in enumerate(words)
    )
    found = re.fullmatch(regex, name)
    return PLACE.sub(lambda place: found[place[1]], template) if found else None
