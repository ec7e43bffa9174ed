"""Published weights into a model, with a strict report of what became of every tensor.

    load        a file, folder or hub name into a model
    put         tensors by name into a model
    Report      what was loaded, resized, left as it was, and not known
    exported    the weights of a model under the names that others read
    form_of     the format of a family that has a name for each of them

Nothing is dropped in silence. A file of other classes lends all but the head; a file for another picture size
has its positions resized; all else that does not fit is refused, with a list, and leaves the model as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rayformer.core.errors import DataError
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.files import read
from rayformer.nets.weights.names import published_names, renamed

OURS = "rayformer"
"""What the format is called whose names are the model's own."""
SHOWN = 8
"""Names of each kind that a text lists."""


@dataclass(frozen=True, kw_only=True)
class Report:
    source: str
    format: str
    loaded: tuple[str, ...]
    """Our names, those of resized ones included."""
    resized: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Our names, with the shape in the file and the model's."""
    kept: tuple[str, ...]
    """Our names that the file has not, or has for other classes: these are as they were."""
    unexpected: tuple[str, ...]
    """Names of the file that have no place in the model."""
    computed: tuple[str, ...] = ()
    """Names of the file that a model works out by itself."""

    def lines(self) -> list[str]:
        """For people."""
        said = [f"{len(self.loaded)} tensors from {self.source}, named as {self.format} names them"]
        said += [
            f"resized: {name} from {'x'.join(map(str, old))} to {'x'.join(map(str, new))}"
            for name, (old, new) in self.resized.items()
        ]
        if self.kept:
            said.append(f"not from the file, left as they were: {_some(self.kept)}")
        if self.unexpected:
            said.append(f"in the file, without a place here: {_some(self.unexpected)}")
        if self.computed:
            said.append(f"in the file, worked out anew: {_some(self.computed)}")
        return said


def load(model: nn.Module, source: str | Path, family: Family | None = None) -> Report:
    """Weights from a file, a folder or a name on the hub into the model, which is of one of our networks, or
    of the family that is given. Raises DataError for those of another architecture, with what does not fit,
    and leaves the model as it was; ConfigError for a model of no known family."""
    if family is None:
        from rayformer.nets.families import family_of  # all networks; they know nothing of files

        family = family_of(model)
    return put(model, read(source), family, str(source))


def put(model: nn.Module, tensors: Mapping[str, Tensor], family: Family, source: str) -> Report:
    """The same, of tensors by name in whatever format of the family."""
    own, tensors = model.state_dict(), family.trimmed(tensors, model, source)
    name, given, unexpected, computed = _recognised(tensors, family, own)
    resized, other = {}, []
    for key in sorted(given.keys() & own.keys()):
        if given[key].shape == own[key].shape:
            continue
        if key.startswith(family.head):
            del given[key]
        elif (fitted := family.fitted(model, key, given[key])) is not None:
            resized[key] = (tuple(given[key].shape), tuple(own[key].shape))
            given[key] = fitted
        else:
            other.append(f"{key} is {_shape(given[key])} there and {_shape(own[key])} here")
    kept = sorted(own.keys() - given.keys())
    lost = [key for key in kept if not key.startswith(family.head)]
    if lost or other:
        told = [f"{source}: the weights are of another architecture than the model."]
        told += [f"{len(lost)} of {len(own)} tensors are not in it: {_some(lost)}"] if lost else []
        told += [f"{len(other)} have other shapes: {_some(other)}"] if other else []
        told += [f"{len(unexpected)} of it have no place here: {_some(unexpected)}"] if unexpected else []
        raise DataError("\n".join(told))
    with torch.no_grad():
        for key, tensor in own.items():
            if key in given:
                tensor.copy_(given[key])
    return Report(
        source=source, format=name, loaded=tuple(sorted(given)), resized=resized, kept=tuple(kept),
        unexpected=tuple(sorted(unexpected)), computed=tuple(sorted(computed)),
    )  # fmt: skip


def exported(model: nn.Module, family: Family, name: str) -> dict[str, Tensor]:
    """The model's weights as a format of the family names them."""
    theirs, unknown = published_names(model.state_dict(), family.formats[name].rules)
    assert not unknown, f"the rules of {name} do not know {unknown}"
    return theirs


def form_of(model: nn.Module, family: Family) -> str:
    """The first format of the family that has a name for every tensor of the model."""
    state = model.state_dict()
    known = [name for name, form in family.formats.items() if not published_names(state, form.rules)[1]]
    assert known, f"no format knows all of {_some(list(state))}"
    return known[0]


def _recognised(
    tensors: Mapping[str, Tensor], family: Family, own: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor], list[str], list[str]]:
    """The format that finds a place for most of the model's tensors; then those under our names, the names
    that have no place, and those that a model works out by itself."""
    if tensors.keys() & own.keys() == own.keys():
        return OURS, {key: tensors[key] for key in own}, sorted(tensors.keys() - own.keys()), []
    tried = {name: _read_as(tensors, form, own) for name, form in family.formats.items()}
    best = max(tried, key=lambda name: len(tried[name][0]))
    return best, *tried[best]


def _read_as(
    tensors: Mapping[str, Tensor], form: Format, own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    prepared, computed = {}, []
    for name, tensor in tensors.items():
        if name.endswith(form.computed):
            computed.append(name)
        else:
            name, tensor = form.prepare(name, tensor)
            prepared[name] = tensor
    ours, unknown = renamed(prepared, form.rules)
    given = {name: tensor for name, tensor in ours.items() if name in own}
    return given, [*unknown, *(name for name in ours if name not in own)], computed


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
