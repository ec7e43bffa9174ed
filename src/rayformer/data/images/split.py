"""Which pictures are learned from, which are watched meanwhile, and which are measured.

    split_up   the parts of a data set, by its own splits or by ours

Our own splits depend on nothing but the names of the pictures: a picture that is added moves hardly any other
from one side to the other, and every run and every seed measures the same ones. Each class gives its share.
"""

import hashlib

import numpy as np
from jaxtyping import Int

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import Found, ImagesConfig, Part, Pictures, Split

MOST_VALIDATION = 2000
"""More pictures choose no better and cost time."""


def split_up(
    found: Found, pictures: Pictures, good: Int[np.ndarray, "_"], source: str, config: ImagesConfig
) -> tuple[dict[Split, Part], list[str]]:
    """The parts, of the `good` pictures, and what there is to say about them.

    Raises DataError where no class has two pictures, so that none can be held out.
    """
    rows: dict[Split, np.ndarray] = {name: np.intersect1d(own, good) for name, own in found.parts.items()}
    rows = {name: own for name, own in rows.items() if len(own)}
    whose = "the split is the data's own" if "test" in rows else "nothing is held out, as asked for"
    anew = ""
    if "train" not in rows:
        rows = {"train": np.concatenate(list(rows.values()))}
        anew = f"the data bring {' and '.join(sorted(found.parts))} pictures only: "
    if "test" not in rows and "val" in rows:
        rows["test"] = rows.pop("val")
        whose = "the data's validation pictures are those for testing"
    if "test" not in rows and config.held_out:
        whose = f"{anew}of every class, {config.held_out:g} is held out, always the same pictures"
        rows["train"], rows["test"] = _parted(found, pictures, rows["train"], config.held_out)
        if not len(rows["test"]):
            raise DataError(
                f"{source}: no class has two pictures, one to learn from and one to test with.\n"
                "Give more, or measure at the pictures that were learned from: data.held_out 0."
            )
    remarks = [whose]
    if "val" not in rows and config.validation:
        share = min(config.validation, MOST_VALIDATION / len(rows["train"]))
        rows["train"], held = _parted(found, pictures, rows["train"], share)
        if len(held):
            rows["val"] = held
            remarks.append(f"{len(held)} training pictures are held back, to watch how much is learned")
    if config.per_class is not None:
        before = len(rows["train"])
        rows["train"] = _first_of_each(found, pictures, rows["train"], config.per_class)
        remarks.append(
            f"{len(rows['train'])} of {before} training pictures are used, {config.per_class} of each class"
        )
    parts: dict[Split, Part] = {name: Part(pictures, own, found.labels[own]) for name, own in rows.items()}
    if "test" not in parts:
        parts["test"] = parts["train"]
        remarks.append("measured at the pictures that were learned from: memory, not recognition")
    order: tuple[Split, ...] = ("train", "val", "test")
    said = ", ".join(f"{len(parts[name])} {name}" for name in order if name in parts)
    remarks[0] = f"split: {said}; {remarks[0]}"
    return parts, remarks


def _parted(
    found: Found, pictures: Pictures, rows: Int[np.ndarray, "_"], share: float
) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
    """What stays and what is held out: `share` of every class, one picture at least, never the last one."""
    held: list[int] = []
    for own in _by_class(found, pictures, rows):
        if len(own) > 1:
            held += own[: min(max(1, round(share * len(own))), len(own) - 1)]
    chosen = np.array(sorted(held), np.int64)
    return np.setdiff1d(rows, chosen), chosen


def _first_of_each(
    found: Found, pictures: Pictures, rows: Int[np.ndarray, "_"], most: int
) -> Int[np.ndarray, "_"]:
    return np.array(sorted(row for own in _by_class(found, pictures, rows) for row in own[:most]), np.int64)


def _by_class(found: Found, pictures: Pictures, rows: Int[np.ndarray, "_"]) -> list[list[int]]:
    """The pictures of each class in an order that their names alone decide."""
    classes: list[list[tuple[bytes, int]]] = [[] for _ in found.classes]
    for row in rows.tolist():
        name = pictures.name(row).encode("utf-8", errors="surrogateescape")
        classes[found.labels[row]].append((hashlib.blake2b(name, digest_size=8).digest(), row))
    return [[row for _, row in sorted(own)] for own in classes]
