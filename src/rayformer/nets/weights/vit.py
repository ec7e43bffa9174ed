"""What others call the weights of `nets/vit.py`.

TIMM          timm's `vit_*`, DeiT's and MAE's files; MAE's hold no head
TRANSFORMERS  `ViTForImageClassification` as it lies in files and on the hub
IN_MEMORY     the same as transformers 5 names it in memory
TORCHVISION   torchvision's `vit_*`
FLAX          the authors' `.npz`, trained with GELU by tanh
VIT           all of them, and positions for another picture size
"""

import torch
from torch import Tensor, nn

from rayformer.nets.parts.positions import resized
from rayformer.nets.vit import ViT
from rayformer.nets.weights.family import Family, Format, from_flax
from rayformer.nets.weights.names import Pack, Rename, Rules

_BLOCK = "blocks.{i}."


def _packed(theirs: str, words: tuple[str, str, str], ours: str = _BLOCK) -> Pack:
    """Queries, keys and values under three names."""
    return Pack(tuple(theirs + word + ".{part}" for word in words), ours + "attention.to_qkv.{part}")


TIMM: Rules = (
    Rename("cls_token", "class_token"),
    Rename("pos_embed", "positions.table"),
    Rename("patch_embed.proj.{part}", "embed.project.{part}"),
    Rename(_BLOCK + "norm1.{part}", _BLOCK + "norm_attention.{part}"),
    Rename(_BLOCK + "attn.qkv.{part}", _BLOCK + "attention.to_qkv.{part}"),
    Rename(_BLOCK + "attn.proj.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_BLOCK + "ls1.gamma", _BLOCK + "scale_attention.factor"),
    Rename(_BLOCK + "norm2.{part}", _BLOCK + "norm_mlp.{part}"),
    Rename(_BLOCK + "mlp.fc1.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_BLOCK + "mlp.fc2.{part}", _BLOCK + "mlp.to_output.{part}"),
    Rename(_BLOCK + "ls2.gamma", _BLOCK + "scale_mlp.factor"),
    Rename("norm.{part}", "norm.{part}"),
    Rename("fc_norm.{part}", "pooled_norm.{part}"),
    Rename("head.{part}", "head.{part}"),
)

_AROUND: Rules = (
    Rename("vit.embeddings.cls_token", "class_token"),
    Rename("vit.embeddings.position_embeddings", "positions.table"),
    Rename("vit.embeddings.patch_embeddings.projection.{part}", "embed.project.{part}"),
    Rename("vit.layernorm.{part}", "norm.{part}"),
    Rename("classifier.{part}", "head.{part}"),
)
_LAYER = "vit.encoder.layer.{i}."
TRANSFORMERS: Rules = (
    *_AROUND,
    Rename(_LAYER + "layernorm_before.{part}", _BLOCK + "norm_attention.{part}"),
    _packed(_LAYER + "attention.attention.", ("query", "key", "value")),
    Rename(_LAYER + "attention.output.dense.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_LAYER + "layernorm_after.{part}", _BLOCK + "norm_mlp.{part}"),
    Rename(_LAYER + "intermediate.dense.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_LAYER + "output.dense.{part}", _BLOCK + "mlp.to_output.{part}"),
)

_IN_LAYER = "vit.layers.{i}."
IN_MEMORY: Rules = (
    *_AROUND,
    Rename(_IN_LAYER + "layernorm_before.{part}", _BLOCK + "norm_attention.{part}"),
    _packed(_IN_LAYER + "attention.", ("q_proj", "k_proj", "v_proj")),
    Rename(_IN_LAYER + "attention.o_proj.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_IN_LAYER + "layernorm_after.{part}", _BLOCK + "norm_mlp.{part}"),
    Rename(_IN_LAYER + "mlp.fc1.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_IN_LAYER + "mlp.fc2.{part}", _BLOCK + "mlp.to_output.{part}"),
)

_ENCODER = "encoder.layers.encoder_layer_{i}."
TORCHVISION: Rules = (
    Rename("class_token", "class_token"),
    Rename("encoder.pos_embedding", "positions.table"),
    Rename("conv_proj.{part}", "embed.project.{part}"),
    Rename(_ENCODER + "ln_1.{part}", _BLOCK + "norm_attention.{part}"),
    Rename(_ENCODER + "self_attention.in_proj_weight", _BLOCK + "attention.to_qkv.weight"),
    Rename(_ENCODER + "self_attention.in_proj_bias", _BLOCK + "attention.to_qkv.bias"),
    Rename(_ENCODER + "self_attention.out_proj.{part}", _BLOCK + "attention.to_output.{part}"),
    Rename(_ENCODER + "ln_2.{part}", _BLOCK + "norm_mlp.{part}"),
    Rename(_ENCODER + "mlp.0.{part}", _BLOCK + "mlp.to_hidden.{part}"),
    Rename(_ENCODER + "mlp.3.{part}", _BLOCK + "mlp.to_output.{part}"),
    Rename("encoder.ln.{part}", "norm.{part}"),
    Rename("heads.head.{part}", "head.{part}"),
)

_FLAX_BLOCK = "Transformer.encoderblock_{i}."
_FLAX_ATTENTION = _FLAX_BLOCK + "MultiHeadDotProductAttention_1."
_LAYERS = {
    _FLAX_ATTENTION + "out.": _BLOCK + "attention.to_output.",
    _FLAX_BLOCK + "MlpBlock_3.Dense_0.": _BLOCK + "mlp.to_hidden.",
    _FLAX_BLOCK + "MlpBlock_3.Dense_1.": _BLOCK + "mlp.to_output.",
    "embedding.": "embed.project.",
    "head.": "head.",
}
_NORMS = {
    _FLAX_BLOCK + "LayerNorm_0.": _BLOCK + "norm_attention.",
    _FLAX_BLOCK + "LayerNorm_2.": _BLOCK + "norm_mlp.",
    "Transformer.encoder_norm.": "norm.",
}
FLAX: Rules = (
    Rename("cls", "class_token"),
    Rename("Transformer.posembed_input.pos_embedding", "positions.table"),
    *(
        Pack(tuple(_FLAX_ATTENTION + f"{word}.{their}" for word in ("query", "key", "value")), ours)
        for their, ours in [
            ("kernel", _BLOCK + "attention.to_qkv.weight"),
            ("bias", _BLOCK + "attention.to_qkv.bias"),
        ]
    ),
    *(Rename(their + "kernel", ours + "weight") for their, ours in _LAYERS.items()),
    *(Rename(their + "scale", ours + "weight") for their, ours in _NORMS.items()),
    *(Rename(their + "bias", ours + "bias") for their, ours in (_LAYERS | _NORMS).items()),
)


def fitted(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    """Positions of a square grid of another size, interpolated; and without the class token's, where the
    model has no such token."""
    if name != "positions.table" or not isinstance(model, ViT) or tensor.shape[-1] != model.config.width:
        return None
    positions = model.positions
    for others in {positions.others, 1, 0}:
        side = round(max(tensor.shape[1] - others, 0) ** 0.5)
        if side and side * side + others == tensor.shape[1] and positions.others <= others:
            grid = resized(tensor[:, others:], (side, side), positions.grid)
            return torch.cat([tensor[:, : positions.others], grid], dim=1)
    return None


VIT = Family(
    formats={
        "timm": Format(rules=TIMM),
        "transformers": Format(rules=TRANSFORMERS),
        "transformers in memory": Format(rules=IN_MEMORY),
        "torchvision": Format(rules=TORCHVISION),
        "flax": Format(rules=FLAX, prepare=from_flax),
    },
    head=("head.", "norm.", "pooled_norm."),  # which of the norms there is depends on what is classified
    fitted=fitted,
)
