"""What others call the weights of `nets/resnet_rs.py`.

DEEP, PLAIN      the two stems
POOLED, PICKED   blocks, by their shortcuts
TIMM             timm's `resnetrs*`, `resnet*d`, `seresnet*d`
TORCHVISION      torchvision's `resnet*`, and timm's `resnet50`, `resnet200`, `seresnet50`
RESNET           these, and the mixtures that timm has too

No single set of rules can read all: `downsample.1` is a convolution behind a pooled shortcut, else a norm.
"""

from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Rename, Rules

CONVOLUTIONS = {"1": "narrow", "2": "spatial", "3": "widen"}


def _blocks(shortcut: int, name: str) -> Rules:
    """`shortcut` is the number of its convolution among the layers of `downsample`; `name` is ours."""
    stages = [
        rule
        for stage in range(4)
        for theirs, ours in [(f"layer{stage + 1}.{{j}}.", f"stages.{stage}.{{j}}.")]
        for rule in (
            *(
                rule
                for number, part in CONVOLUTIONS.items()
                for rule in (
                    Rename(theirs + f"conv{number}.weight", ours + f"{part}.convolve.weight"),
                    Rename(theirs + f"bn{number}.{{part}}", ours + f"{part}.norm.{{part}}"),
                )
            ),
            Rename(theirs + "se.fc1.{part}", ours + "excite.squeeze.{part}"),
            Rename(theirs + "se.fc2.{part}", ours + "excite.excite.{part}"),
            Rename(theirs + f"downsample.{shortcut}.weight", ours + f"shortcut.{name}.weight"),
            Rename(theirs + f"downsample.{shortcut + 1}.{{part}}", ours + "shortcut.norm.{part}"),
        )
    ]
    return (*stages, Rename("fc.{part}", "head.{part}"))


POOLED, PICKED = _blocks(1, "convolve"), _blocks(0, "pick")

DEEP: Rules = (
    Rename("conv1.0.weight", "stem.first.convolve.weight"),
    Rename("conv1.1.{part}", "stem.first.norm.{part}"),
    Rename("conv1.3.weight", "stem.second.convolve.weight"),
    Rename("conv1.4.{part}", "stem.second.norm.{part}"),
    Rename("conv1.6.weight", "stem.third.convolve.weight"),
    Rename("bn1.{part}", "stem.third.norm.{part}"),
    Rename("maxpool.0.weight", "stem.halve.convolve.weight"),
    Rename("maxpool.1.{part}", "stem.halve.norm.{part}"),
)

PLAIN: Rules = (
    Rename("conv1.weight", "stem.only.convolve.weight"),
    Rename("bn1.{part}", "stem.only.norm.{part}"),
    Rename("maxpool.0.weight", "stem.halve.convolve.weight"),
    Rename("maxpool.1.{part}", "stem.halve.norm.{part}"),
)

TIMM: Rules = (*DEEP, *POOLED)
TORCHVISION: Rules = (*PLAIN, *PICKED)

RESNET = Family(
    formats={
        "timm": Format(rules=TIMM),
        "torchvision": Format(rules=TORCHVISION),
        "timm, plain shortcuts": Format(rules=(*DEEP, *PICKED)),
        "timm, plain stem": Format(rules=(*PLAIN, *POOLED)),
    },
    head=("head.",),
)
