"""What others call the weights of `nets/convnext.py`.

TIMM          timm's `convnext_*`
OFFICIAL      the authors'
TRANSFORMERS  `ConvNextForImageClassification`; its last norm may be said to have another eps
TORCHVISION   torchvision's `convnext_*`, whose layer scales have two axes more
CONVNEXT      all of them
"""

from torch import Tensor

from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Rename, Rules

TIMM: Rules = (
    Rename("stem.0.{part}", "stem.convolve.{part}"),
    Rename("stem.1.{part}", "stem.norm.{part}"),
    Rename("stages.{i}.downsample.0.{part}", "stages.{i}.halve.norm.{part}"),
    Rename("stages.{i}.downsample.1.{part}", "stages.{i}.halve.convolve.{part}"),
    Rename("stages.{i}.blocks.{j}.conv_dw.{part}", "stages.{i}.blocks.{j}.spatial.{part}"),
    Rename("stages.{i}.blocks.{j}.norm.{part}", "stages.{i}.blocks.{j}.norm.{part}"),
    Rename("stages.{i}.blocks.{j}.mlp.fc1.{part}", "stages.{i}.blocks.{j}.widen.{part}"),
    Rename("stages.{i}.blocks.{j}.mlp.fc2.{part}", "stages.{i}.blocks.{j}.narrow.{part}"),
    Rename("stages.{i}.blocks.{j}.gamma", "stages.{i}.blocks.{j}.scale"),
    Rename("head.norm.{part}", "norm.{part}"),
    Rename("head.fc.{part}", "head.{part}"),
)

OFFICIAL: Rules = (
    Rename("downsample_layers.0.0.{part}", "stem.convolve.{part}"),
    Rename("downsample_layers.0.1.{part}", "stem.norm.{part}"),
    Rename("downsample_layers.{i}.0.{part}", "stages.{i}.halve.norm.{part}"),
    Rename("downsample_layers.{i}.1.{part}", "stages.{i}.halve.convolve.{part}"),
    Rename("stages.{i}.{j}.dwconv.{part}", "stages.{i}.blocks.{j}.spatial.{part}"),
    Rename("stages.{i}.{j}.norm.{part}", "stages.{i}.blocks.{j}.norm.{part}"),
    Rename("stages.{i}.{j}.pwconv1.{part}", "stages.{i}.blocks.{j}.widen.{part}"),
    Rename("stages.{i}.{j}.pwconv2.{part}", "stages.{i}.blocks.{j}.narrow.{part}"),
    Rename("stages.{i}.{j}.gamma", "stages.{i}.blocks.{j}.scale"),
    Rename("norm.{part}", "norm.{part}"),
    Rename("head.{part}", "head.{part}"),
)

_STAGE, _LAYER = "convnext.encoder.stages.{i}.", "convnext.encoder.stages.{i}.layers.{j}."
TRANSFORMERS: Rules = (
    Rename("convnext.embeddings.patch_embeddings.{part}", "stem.convolve.{part}"),
    Rename("convnext.embeddings.layernorm.{part}", "stem.norm.{part}"),
    Rename(_STAGE + "downsampling_layer.0.{part}", "stages.{i}.halve.norm.{part}"),
    Rename(_STAGE + "downsampling_layer.1.{part}", "stages.{i}.halve.convolve.{part}"),
    Rename(_LAYER + "dwconv.{part}", "stages.{i}.blocks.{j}.spatial.{part}"),
    Rename(_LAYER + "layernorm.{part}", "stages.{i}.blocks.{j}.norm.{part}"),
    Rename(_LAYER + "pwconv1.{part}", "stages.{i}.blocks.{j}.widen.{part}"),
    Rename(_LAYER + "pwconv2.{part}", "stages.{i}.blocks.{j}.narrow.{part}"),
    Rename(_LAYER + "layer_scale_parameter", "stages.{i}.blocks.{j}.scale"),
    Rename("convnext.layernorm.{part}", "norm.{part}"),
    Rename("classifier.{part}", "head.{part}"),
)

TORCHVISION: Rules = (
    Rename("features.0.0.{part}", "stem.convolve.{part}"),
    Rename("features.0.1.{part}", "stem.norm.{part}"),
    *(
        rule
        for stage in range(4)
        for theirs, ours in [(f"features.{2 * stage + 1}.{{j}}.", f"stages.{stage}.blocks.{{j}}.")]
        for rule in (
            Rename(f"features.{2 * stage}.0.{{part}}", f"stages.{stage}.halve.norm.{{part}}"),
            Rename(f"features.{2 * stage}.1.{{part}}", f"stages.{stage}.halve.convolve.{{part}}"),
            Rename(theirs + "block.0.{part}", ours + "spatial.{part}"),
            Rename(theirs + "block.2.{part}", ours + "norm.{part}"),
            Rename(theirs + "block.3.{part}", ours + "widen.{part}"),
            Rename(theirs + "block.5.{part}", ours + "narrow.{part}"),
            Rename(theirs + "layer_scale", ours + "scale"),
        )
    ),
    Rename("classifier.0.{part}", "norm.{part}"),
    Rename("classifier.2.{part}", "head.{part}"),
)


def flat_scales(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """A layer scale with one axis."""
    return name, tensor.flatten() if name.endswith("layer_scale") else tensor


CONVNEXT = Family(
    formats={
        "timm": Format(rules=TIMM),
        "official": Format(rules=OFFICIAL),
        "transformers": Format(rules=TRANSFORMERS),
        "torchvision": Format(rules=TORCHVISION, prepare=flat_scales),
    },
    head=("head.",),
)
