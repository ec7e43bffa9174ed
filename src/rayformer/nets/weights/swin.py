"""What others call the weights of `nets/swin.py`.

TIMM          timm's `swin_*`, which halves at the start of a stage as we do
OFFICIAL      the authors', who halve at the end of the stage before
TRANSFORMERS  `SwinForImageClassification` as it lies in files and on the hub
IN_MEMORY     the same as transformers 5 names it in memory
TORCHVISION   torchvision's `swin_*`
SWIN          all of them, and tables of biases for other windows
"""

from torch import Tensor, nn

from rayformer.nets.parts.relative_bias import resized_table
from rayformer.nets.swin import Swin
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Pack, Rename, Rules

STAGES = 4
_BLOCK = "stages.{i}.blocks.{j}."
_TABLE = "stages.{i}.biases.{j}.table"


def _block(theirs: str, first: str = "mlp.fc1", second: str = "mlp.fc2", block: str = _BLOCK) -> Rules:
    """The authors' names within a block."""
    return (
        Rename(theirs + "norm1.{part}", block + "norm_attention.{part}"),
        Rename(theirs + "attn.relative_position_bias_table", block.replace("blocks", "biases") + "table"),
        Rename(theirs + "attn.qkv.{part}", block + "attention.to_qkv.{part}"),
        Rename(theirs + "attn.proj.{part}", block + "attention.to_output.{part}"),
        Rename(theirs + "norm2.{part}", block + "norm_mlp.{part}"),
        Rename(theirs + f"{first}.{{part}}", block + "mlp.to_hidden.{part}"),
        Rename(theirs + f"{second}.{{part}}", block + "mlp.to_output.{part}"),
    )


def _merges(theirs: str) -> Rules:
    """Halvings at the end of a stage, of which ours begin the next one."""
    return tuple(
        Rename(theirs.format(stage) + f"{their}.{{part}}", f"stages.{stage + 1}.merge.{our}.{{part}}")
        for stage in range(STAGES - 1)
        for their, our in [("norm", "norm"), ("reduction", "reduce")]
    )


_PATCHES: Rules = (
    Rename("patch_embed.proj.{part}", "embed.project.{part}"),
    Rename("patch_embed.norm.{part}", "embed.norm.{part}"),
    *_block("layers.{i}.blocks.{j}."),
    Rename("norm.{part}", "norm.{part}"),
)
TIMM: Rules = (
    *_PATCHES,
    Rename("layers.{i}.downsample.norm.{part}", "stages.{i}.merge.norm.{part}"),
    Rename("layers.{i}.downsample.reduction.{part}", "stages.{i}.merge.reduce.{part}"),
    Rename("head.fc.{part}", "head.{part}"),
)
OFFICIAL: Rules = (*_PATCHES, *_merges("layers.{}.downsample."), Rename("head.{part}", "head.{part}"))

_LAYER = "swin.encoder.layers.{i}.blocks.{j}."
_AROUND: Rules = (
    Rename("swin.embeddings.patch_embeddings.projection.{part}", "embed.project.{part}"),
    Rename("swin.embeddings.norm.{part}", "embed.norm.{part}"),
    *_merges("swin.encoder.layers.{}.downsample."),
    Rename(_LAYER + "layernorm_before.{part}", _BLOCK + "norm_attention.{part}"),
    Rename(_LAYER + "layernorm_after.{part}", _BLOCK + "norm_mlp.{part}"),
    Rename("swin.layernorm.{part}", "norm.{part}"),
    Rename("classifier.{part}", "head.{part}"),
)
TRANSFORMERS: Rules = (
    *_AROUND,
    Pack(
        tuple(_LAYER + f"attention.self.{word}.{{part}}" for word in ("query", "key", "value")),
        _BLOCK + "attention.to_qkv.{part}",
    ),
    Rename(_LAYER + "attention.self.relative_position_bias_table", _TABLE),
    Rename(_LAYER + "attention.output.dense.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_LAYER + "intermediate.dense.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_LAYER + "output.dense.{part}", _BLOCK + "mlp.to_output.{part}"),
)
IN_MEMORY: Rules = (
    *_AROUND,
    Pack(
        tuple(_LAYER + f"attention.{word}.{{part}}" for word in ("q_proj", "k_proj", "v_proj")),
        _BLOCK + "attention.to_qkv.{part}",
    ),
    Rename(_LAYER + "attention.relative_position_bias.relative_position_bias_table", _TABLE),
    Rename(_LAYER + "attention.o_proj.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_LAYER + "mlp.fc1.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_LAYER + "mlp.fc2.{part}", _BLOCK + "mlp.to_output.{part}"),
)

TORCHVISION: Rules = (
    Rename("features.0.0.{part}", "embed.project.{part}"),
    Rename("features.0.2.{part}", "embed.norm.{part}"),
    *(
        rule
        for stage in range(STAGES)
        for rule in (
            *_block(f"features.{2 * stage + 1}.{{j}}.", "mlp.0", "mlp.3", f"stages.{stage}.blocks.{{j}}."),
            Rename(f"features.{2 * stage}.norm.{{part}}", f"stages.{stage}.merge.norm.{{part}}"),
            Rename(f"features.{2 * stage}.reduction.{{part}}", f"stages.{stage}.merge.reduce.{{part}}"),
        )
    ),
    Rename("norm.{part}", "norm.{part}"),
    Rename("head.{part}", "head.{part}"),
)


def fitted(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    """A table of biases of other windows, interpolated."""
    if ".biases." not in name or not isinstance(model, Swin) or tensor.ndim != 2:
        return None
    if round(len(tensor) ** 0.5) ** 2 != len(tensor) or tensor.shape[1] != model.get_parameter(name).shape[1]:
        return None
    return resized_table(tensor, model.config.window)


COMPUTED = ("relative_position_index", "attn_mask")
SWIN = Family(
    formats={
        "timm": Format(rules=TIMM, computed=COMPUTED),
        "official": Format(rules=OFFICIAL, computed=COMPUTED),
        "transformers": Format(rules=TRANSFORMERS, computed=COMPUTED),
        "transformers in memory": Format(rules=IN_MEMORY, computed=COMPUTED),
        "torchvision": Format(rules=TORCHVISION, computed=COMPUTED),
    },
    head=("head.",),
    fitted=fitted,
)
