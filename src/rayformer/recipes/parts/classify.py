"""What a trained network says of pictures that it has never seen.

predict          pictures and folders of them in, the likeliest classes out
named_pictures   the files that are meant
seen_of          what a network sees of them
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import SUFFIXES
from rayformer.data.images.transforms import Transform, load
from rayformer.engine.task import Prediction
from rayformer.recipes.parts.open import Loaded

LIKELIEST = 5
"""Classes that are named of each picture."""
AT_ONCE = 32
"""Pictures that go through the network together."""
LOG = logging.getLogger(__name__)


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every picture the likeliest classes and how likely they are; of one in a folder that cannot be read,
    why. Raises DataError for a named file that is absent or no picture, and for a folder without any that can
    be read. Nothing is written to `out`: all fits on a line."""
    task, named = loaded.task, named_pictures(inputs)
    paths = list(named)
    values, rows = {}, []
    for first in range(0, len(paths), AT_ONCE):
        seen, problems = seen_of(paths[first : first + AT_ONCE], named, task.see)
        for path, problem in problems.items():
            LOG.warning("%s", problem)
            values[str(path)] = {"problem": problem}
        if not seen:
            continue
        some, images = list(seen), torch.stack(list(seen.values()))
        with loaded.precision.autocast():
            shares = loaded.model(images.to(loaded.device)).float().softmax(dim=1).cpu()
        for path, row in zip(some, shares, strict=True):
            likely = row.topk(min(LIKELIEST, len(row)))
            names = [task.classes[number] for number in likely.indices.tolist()]
            top = dict(zip(names, likely.values.tolist(), strict=True))
            values[str(path)] = {"class": names[0], "probability": top[names[0]], "top": top}
            rows.append([str(path), *(f"{name} {share:.1%}" for name, share in top.items())])
    if not rows:
        raise DataError(
            f"None of {len(paths)} pictures can be read; the first: {next(iter(problems.values()))}"
        )
    return Prediction(values=values, rows=rows)


def seen_of(
    paths: Sequence[Path], named: Mapping[Path, bool], see: Transform
) -> tuple[dict[Path, Tensor], dict[Path, str]]:
    """What the network sees of each picture, and what is wrong with those of folders that cannot be read."""
    seen, problems = {}, {}
    for path in paths:
        try:
            seen[path] = load(path, see)
        except DataError as error:
            if named[path]:
                raise
            problems[path] = str(error).splitlines()[0]
    return seen, problems


def named_pictures(inputs: Sequence[str]) -> dict[Path, bool]:
    """All files that were named, and all pictures in the folders that were; whether each was named itself."""
    found: dict[Path, bool] = {}
    for path in map(Path, inputs):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{path}: a folder without pictures ({', '.join(SUFFIXES[:6])} and others).")
            found = {**dict.fromkeys(inside, False), **found}
        elif path.exists():
            found[path] = True
        else:
            raise DataError(f"{path}: no such file or folder.")
    return found
