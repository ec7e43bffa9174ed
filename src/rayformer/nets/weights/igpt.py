"""What others call the weights of `nets/igpt.py`.

TRANSFORMERS   `ImageGPTForCausalImageModeling` and `ImageGPTForImageClassification`, in files and on the hub
BODY           `ImageGPTModel`, which has neither output
AUTHORS        the variables of the authors' checkpoints by name, from an .npz
IGPT_WEIGHTS   all of them, and positions for another picture size
without_zeros  files whose biases are all zero, for networks that have none
for_transformers   ours as transformers has them

Matrices of transformers have inputs first. The authors cut those of attention up by heads. Their checkpoints
are TensorFlow's own format, which nothing else reads: `tf.train.load_checkpoint` there, and an .npz of all
variables under their names here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rayformer.core.errors import DataError
from rayformer.nets.igpt import IGPT
from rayformer.nets.parts.positions import resized
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.loading import exported
from rayformer.nets.weights.names import Pack, Rename, Rules

_OURS = "blocks.{i}."
_MATRICES = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


def _transformers(before: str) -> Rules:
    theirs = before + "h.{i}."
    return (
        Rename(before + "wte.weight", "embed.weight"),  # the start is its last row
        Rename(before + "wpe.weight", "positions.table"),
        Rename(theirs + "ln_1.weight", _OURS + "norm_attention.weight"),
        Rename(theirs + "attn.c_attn.{part}", _OURS + "attention.to_qkv.{part}"),
        Rename(theirs + "attn.c_proj.{part}", _OURS + "attention.to_output.{part}"),
        Rename(theirs + "ln_2.weight", _OURS + "norm_mlp.weight"),
        Rename(theirs + "mlp.c_fc.{part}", _OURS + "mlp.to_hidden.{part}"),
        Rename(theirs + "mlp.c_proj.{part}", _OURS + "mlp.to_output.{part}"),
        Rename(before + "ln_f.weight", "norm.weight"),
        Rename("lm_head.weight", "to_colours.weight"),
        Rename("score.weight", "head.weight"),
    )


TRANSFORMERS = _transformers("transformer.")
BODY = _transformers("")

_AUTHORS = "model.h{i}."
AUTHORS: Rules = (
    Pack(("model.wte", "model.sos"), "embed.weight"),
    Rename("model.wpe", "positions.table"),
    Rename(_AUTHORS + "ln_1.g", _OURS + "norm_attention.weight"),
    Pack(
        tuple(_AUTHORS + f"attn.{word}_proj" for word in ("q", "k", "v")), _OURS + "attention.to_qkv.weight"
    ),
    Rename(_AUTHORS + "attn.c_proj", _OURS + "attention.to_output.weight"),
    Rename(_AUTHORS + "ln_2.g", _OURS + "norm_mlp.weight"),
    Rename(_AUTHORS + "mlp.c_fc.w", _OURS + "mlp.to_hidden.weight"),
    Rename(_AUTHORS + "mlp.c_proj.w", _OURS + "mlp.to_output.weight"),
    Rename("model.ln_f.g", "norm.weight"),
    Rename("model.wtet", "to_colours.weight"),
)


def from_transformers(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Matrices with outputs first; positions with a batch of one."""
    if name.endswith(_MATRICES):
        return name, tensor.T
    return name, tensor[None] if name.endswith("wpe.weight") else tensor


def from_authors(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """The same, with heads made whole. q, k and v have outputs first already."""
    name = name.replace("/", ".").removesuffix(":0")
    last = name.rpartition(".")[2]
    match last:
        case "q_proj" | "k_proj" | "v_proj":
            return name, tensor.squeeze().flatten(0, -2)
        case "c_proj":
            return name, tensor.squeeze().flatten(0, -2).T
        case "w":
            return name, tensor.squeeze().T
        case "sos":
            return name, tensor.reshape(1, -1)
        case "wpe":
            return name, tensor.squeeze()[None]
        case _:
            return name, tensor.squeeze()


def fitted(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    """Positions of square pictures of another size, interpolated."""
    if name != "positions.table" or not isinstance(model, IGPT) or tensor.shape[-1] != model.config.width:
        return None
    side = round(tensor.shape[1] ** 0.5)
    if side * side != tensor.shape[1]:
        return None
    return resized(tensor, (side, side), (model.side, model.side))


_MASKS = (".attn.bias", ".attn.masked_bias")
_TRAINED = ("Adam", "Adam_1", "adam_m", "adam_v", "_step", "global_step")


def without_zeros(tensors: Mapping[str, Tensor], model: nn.Module, source: str) -> Mapping[str, Tensor]:
    """The tensors without their biases, where the model has none: files on the hub hold zeros, as the authors
    had none. Raises DataError for those that are not zero, which the model would lose."""
    if isinstance(model, IGPT) and model.config.bias:
        return tensors
    biases = {name for name in tensors if name.endswith(".bias") and not name.endswith(_MASKS)}
    if learned := sorted(name for name in biases if tensors[name].count_nonzero()):
        raise DataError(
            f"{source}: has learned biases, {learned[0]} and {len(learned) - 1} more, "
            "for which the model has no place.\nGive it one with --model.bias."
        )
    return {name: tensor for name, tensor in tensors.items() if name not in biases}


IGPT_WEIGHTS = Family(
    formats={
        "transformers": Format(rules=TRANSFORMERS, prepare=from_transformers, computed=_MASKS),
        "transformers, without outputs": Format(rules=BODY, prepare=from_transformers, computed=_MASKS),
        "the authors": Format(rules=AUTHORS, prepare=from_authors, computed=_TRAINED),
    },
    head=("head.", "to_colours."),
    fitted=fitted,
    trimmed=without_zeros,
)


def for_transformers(model: IGPT) -> dict[str, Tensor]:
    """All weights as transformers names and turns them, with biases, which its classes always have; zeros
    where the model has none."""
    theirs = exported(model, IGPT_WEIGHTS, "transformers")
    for name in [name for name in theirs if name.endswith(_MATRICES)]:
        theirs[name] = theirs[name].T.contiguous()
        theirs.setdefault(name.removesuffix("weight") + "bias", torch.zeros(theirs[name].shape[1]))
    theirs["transformer.wpe.weight"] = theirs["transformer.wpe.weight"][0]
    return theirs
