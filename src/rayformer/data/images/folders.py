"""Class folders: pictures whose class is the name of the folder that they lie in.

    read_folders   a folder on disk
    sorted_out     classes and splits from paths, wherever these come from

    FOLDER/train/CLASS/...jpg, FOLDER/test/CLASS/...jpg     with splits; val as well, under any usual name
    FOLDER/CLASS/...jpg                                     without: some are held out later
    FOLDER/n01440764_tench.JPEG                             ImageNet's names, which begin with the class

Classes are in the order of their folders' names, capitals first, as torchvision numbers them too. A class
folder may have folders inside. Files whose names begin with a dot are passed over.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import SUFFIXES, Files, Found, Pictures, Split

FORMAT = "class folders"
WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders that are splits, not classes."""
WORDNET = re.compile(r"(n\d{8})_(\w[^.]*)\.")


def read_folders(path: Path) -> Found:
    """Raises DataError for an empty class folder, and for pictures that lie in no class folder."""
    names, folders = _walked(path)
    return sorted_out(str(path), names, folders, FORMAT, lambda kept: Files(path, tuple(kept)))


def holds_pictures(path: Path) -> bool:
    """Whether there is any picture in a folder or below."""
    return any(is_picture(name) for _, _, files in os.walk(path, followlinks=True) for name in files)


def is_picture(name: str) -> bool:
    """By its name: a picture that is not hidden."""
    last = name.rsplit("/", 1)[-1]
    return last.lower().endswith(SUFFIXES) and not last.startswith(".")


def _walked(path: Path) -> tuple[list[str], list[str]]:
    """Files and folders below, by relative paths; through links, but through none a second time."""
    names: list[str] = []
    folders: list[str] = []
    seen = {path.resolve()}
    for place, inside, files in os.walk(path, followlinks=True):
        here = Path(place).relative_to(path).as_posix()
        prefix = "" if here == "." else f"{here}/"
        kept = []
        for name in sorted(inside):
            leads_to = (Path(place) / name).resolve()
            if not name.startswith(".") and leads_to not in seen:
                seen.add(leads_to)
                kept.append(name)
        inside[:] = kept
        folders += [prefix + name for name in kept]
        names += [prefix + name for name in files]
    return names, folders


def sorted_out(
    source: str,
    names: Iterable[str],
    folders: Iterable[str],
    form: str,
    kept_as: Callable[[Sequence[str]], Pictures],
) -> Found:
    """Classes and splits from the relative paths of files and of folders. `kept_as` makes Pictures of the
    paths that count. Raises DataError as `read_folders`, naming `source`."""
    paths = sorted(name for name in names if is_picture(name))
    if not paths:
        raise DataError(
            f"{source}: no pictures.\nEvery class needs a folder CLASS/ with pictures in it, which end in "
            f"{', '.join(SUFFIXES[:5])} or the like."
        )
    if _named_as_in_wordnet(paths):
        return _by_wordnet(paths, form, kept_as)
    heads = {name.split("/")[0].lower() for name in [*folders, *(path for path in paths if "/" in path)]}
    with_splits = bool(heads) and (heads <= set(WORDS) or bool(heads & {"train", "training"}))
    level = 1 if with_splits else 0
    kept: list[str] = []
    splits: list[Split] = []
    owners: list[str] = []
    for path in paths:
        steps = path.split("/")
        split = WORDS.get(steps[0].lower()) if with_splits else "train"
        if split is not None and len(steps) > level + 1:
            kept.append(path)
            splits.append(split)
            owners.append(steps[level])
    if not kept:
        raise DataError(
            f"{source}: {len(paths)} pictures, but none of them in a class folder.\n"
            f"Sort them into folders named for their classes: {source}/CLASS/{paths[0].rsplit('/', 1)[-1]}."
        )
    _refuse_empty(source, folders, with_splits, set(owners))
    classes = sorted(set(owners))
    number = {name: place for place, name in enumerate(classes)}
    remarks = []
    if aside := len(paths) - len(kept):
        remarks.append(f"{aside} pictures lie in no class folder and are left aside")
    return Found(
        format=form,
        pictures=kept_as(kept),
        labels=np.array([number[name] for name in owners]),
        classes=tuple(classes),
        parts={name: np.flatnonzero([split == name for split in splits]) for name in sorted(set(splits))},
        remarks=tuple(remarks),
    )


def _refuse_empty(source: str, folders: Iterable[str], with_splits: bool, filled: set[str]) -> None:
    """DataError for class folders that are empty in every split."""
    classes = set()
    for folder in folders:
        steps = folder.split("/")
        if len(steps) == 2 and with_splits and steps[0].lower() in WORDS:
            classes.add(steps[1])
        elif len(steps) == 1 and not with_splits:
            classes.add(steps[0])
    empty = sorted(classes - filled)
    if empty:
        some = ", ".join(empty[:4]) + (", ..." if len(empty) > 4 else "")
        folders_are = "folder is" if len(empty) == 1 else "folders are"
        raise DataError(
            f"{source}: {len(empty)} class {folders_are} without pictures: {some}.\n"
            "A class is learned from its pictures: put some in, or take the folder away."
        )


def _named_as_in_wordnet(paths: Sequence[str]) -> bool:
    """Whether all pictures lie together, and their names begin with the numbers of several WordNet nouns."""
    if len({path.rpartition("/")[0] for path in paths}) > 1:
        return False
    nouns = [WORDNET.match(path.rpartition("/")[2]) for path in paths]
    return all(nouns) and len({noun[1] for noun in nouns if noun}) > 1


def _by_wordnet(paths: Sequence[str], form: str, kept_as: Callable[[Sequence[str]], Pictures]) -> Found:
    """Classes in the order of their WordNet numbers, which is ImageNet's."""
    nouns = [noun for noun in (WORDNET.match(path.rpartition("/")[2]) for path in paths) if noun]
    ids = sorted({noun[1] for noun in nouns})
    # in ImageNet's own archives a number follows, which is no name
    words = {noun[1]: noun[2].replace("_", " ") for noun in reversed(nouns) if not noun[2].isdigit()}
    classes = tuple(words.get(one, one) for one in ids)
    # two cranes, one of them a bird
    classes = tuple(
        f"{name} ({one})" if classes.count(name) > 1 else name for name, one in zip(classes, ids, strict=True)
    )
    return Found(
        format=form,
        pictures=kept_as(paths),
        labels=np.searchsorted(ids, [noun[1] for noun in nouns]),
        classes=classes,
        parts={"train": np.arange(len(paths))},
        remarks=("classes are the WordNet numbers at the beginnings of the files' names",),
    )
