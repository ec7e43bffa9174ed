"""What a trained network says of pictures that it has never seen.

predict     pictures and folders of them in, the likeliest classes out
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import SUFFIXES
from rayformer.data.images.transforms import load
from rayformer.engine.task import Prediction
from rayformer.recipes.parts.open import Loaded

LIKELIEST = 5
"""Classes that are named of each picture."""
AT_ONCE = 32
"""Pictures that go through the network together."""


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every picture the likeliest classes and how likely they are. Raises DataError for what is absent, no
    picture, or a folder without pictures. Nothing is written to `out`: all fits on a line."""
    task, paths = loaded.task, _pictures(inputs)
    values, rows = {}, []
    for first in range(0, len(paths), AT_ONCE):
        some = paths[first : first + AT_ONCE]
        images = torch.stack([load(path, task.see) for path in some])
        with loaded.precision.autocast():
            shares = loaded.model(images.to(loaded.device)).float().softmax(dim=1).cpu()
        for path, row in zip(some, shares, strict=True):
            likely = row.topk(min(LIKELIEST, len(row)))
            names = [task.classes[number] for number in likely.indices.tolist()]
            top = dict(zip(names, likely.values.tolist(), strict=True))
            values[str(path)] = {"class": names[0], "probability": top[names[0]], "top": top}
            rows.append([str(path), *(f"{name} {share:.1%}" for name, share in top.items())])
    return Prediction(values=values, rows=rows)


def _pictures(inputs: Sequence[str]) -> list[Path]:
    """All files that were named, and all pictures in the folders that were."""
    found: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{path}: a folder without pictures ({', '.join(SUFFIXES[:6])} and others).")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or folder.")
    return found
