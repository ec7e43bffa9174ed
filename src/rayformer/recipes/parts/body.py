"""A network for what it knows, its head cut off: from a run, or from weights by themselves.

Net                what can be a body, by the name of its recipe
AsSeen             what a person may change of how it sees pictures
Body               what it is made of and how it sees, without its weights
Body.built         the network, which gives features in the place of classes
body_from          the body that `--from` names
keep, kept         into a run folder and back, so that the run needs its source no more
weights_into       its weights, from wherever they are
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from rayformer.core.config import from_plain, to_plain
from rayformer.core.errors import ConfigError, did_you_mean
from rayformer.data.images.crop import Filter
from rayformer.data.images.erase import EraseConfig
from rayformer.data.images.normalise import Named
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.nets.families import FAMILIES
from rayformer.recipes import index
from rayformer.recipes.parts.classifier import sized
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.runs.atomic import write_text
from rayformer.runs.run import Run

Net = Literal["vit", "swin", "convnext", "resnet-rs", "nfnet"]

NAMES = ", ".join(FAMILIES)


@dataclass(frozen=True, kw_only=True)
class AsSeen:
    """Of how a body sees pictures, what is to differ from how it was trained; `AugmentConfig` checks it."""

    size: int | None = None
    """Height and width of what the body sees, in pixels. none: as in its run; 224 for weights by
    themselves."""
    colours: Named | None = None
    """The mean and spread taken out of colours: imagenet, half, clip or none. Left out: as in its run, else
    imagenet."""
    crop_share: float | None = None
    """Share of a picture's shorter side that it sees. none: as in its run, else 0.875."""
    squash: bool | None = None
    """Both sides are scaled to the same length, whatever the shape. none: as in its run, else false."""
    filter: Filter | None = None
    """How pictures are scaled. none: as in its run, else bicubic."""
    flip: float | None = None
    """Chance that left and right are exchanged, where the probe learns from augmented pictures. none: as in
    its run, else 0.5."""


@dataclass(frozen=True, kw_only=True)
class Body:
    net: str
    """Of `nets.families`."""
    model: Any
    """The network's own config."""
    augment: AugmentConfig
    """How it sees pictures; what training sees beside is a crop and its mirror image, nothing else."""

    def built(self) -> tuple[nn.Module, int]:
        """The network with new weights, and how many features it gives: `network(images)` is what its head
        would see."""
        network = FAMILIES[self.net].net(self.model, 1)
        head = network.get_submodule("head")
        assert isinstance(head, nn.Linear), "a head is a linear layer"
        network.set_submodule("head", nn.Identity())
        return network, head.in_features


def body_from(start: str | None, net: str | None, size: str | None, seen: AsSeen) -> Body:
    """The body that `start` names: a run says what it is made of, of weights by themselves `net` and `size`
    must. Raises ConfigError where that is not so, RunError for a broken run."""
    if start is None:
        raise ConfigError(
            "A probe shows what a network has learned, and none is named.\n"
            f"Give --from RUN, a run of {NAMES};\n"
            "or --from FILE with --net NAME and --size SIZE, for weights by themselves."
        )
    if (Path(start) / "run.yaml").exists():
        if net is not None or size is not None:
            raise ConfigError(
                f"--net and --size are for weights by themselves, but {start} is a run.\n"
                "It knows what its network is made of: leave them out."
            )
        return _of_run(Run.open(start).root, seen)
    if net is None:
        raise ConfigError(
            f"{start} is no run folder, and weights by themselves do not say of which network they are.\n"
            f"Say so with --net NAME ({NAMES}) and --size SIZE."
        )
    sizes = FAMILIES[net].sizes
    if size is None or size not in sizes:
        raise ConfigError(
            f"--size must be one of {', '.join(sizes)} for --net {net}, but is {size or 'not given'}."
            f"{did_you_mean(size, sizes) if size else ''}\n"
            f"For another network begin a run of {net} from the weights with --plan.steps 0, and probe that."
        )
    augment = _seen(AugmentConfig(), seen)
    return Body(net=net, model=FAMILIES[net].for_side(sizes[size], augment.size), augment=augment)


def _of_run(run: Run, seen: AsSeen) -> Body:
    manifest = run.manifest
    name = manifest["recipe"]
    if name not in FAMILIES:
        raise ConfigError(
            f"{run.path} is a run of {name}, on which no probe can be put.\nGive --from a run of {NAMES}."
        )
    family, recipe = FAMILIES[name], index.load(name)
    config = from_plain(recipe.config, manifest.get("config", {}), where=str(run.path / "run.yaml"))
    model = family.for_side(sized(config.model, family.sizes, config.size), config.augment.size)
    return Body(net=name, model=model, augment=_seen(config.augment, seen))


def _seen(augment: AugmentConfig, seen: AsSeen) -> AugmentConfig:
    given = {name: value for name, value in asdict(seen).items() if value is not None}
    plain = {"policy": PolicyConfig(kind="none"), "jitter": 0.0, "jitter_hue": 0.0}
    return replace(augment, **plain, erase=EraseConfig(chance=0.0), **given)


def keep(body: Body, path: Path) -> None:
    """Raises RunError where the disk refuses."""
    write_text(path, json.dumps(to_plain(body), indent=1) + "\n")


def kept(path: Path) -> Body:
    """Raises ConfigError where the file was changed into something else."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    return Body(
        net=plain["net"],
        model=from_plain(FAMILIES[plain["net"]].config, plain["model"], where=str(path)),
        augment=from_plain(AugmentConfig, plain["augment"], where=str(path)),
    )


def weights_into(network: nn.Module, net: str, source: str) -> Sequence[str]:
    """Weights of a run, a file, a folder or the hub into a body of that family; what to say of them. Those of
    the head have no place. Raises DataError for weights of another architecture, RunError for a run without
    any."""
    return begun_from(FAMILIES[net].weights)(network, source)
