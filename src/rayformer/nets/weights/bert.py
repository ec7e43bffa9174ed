"""What others call the weights of `nets/bert.py`.

TRANSFORMERS  `BertForPreTraining` in memory and in files: its names begin with `bert.`
BODY          `BertModel` by itself, as many files have it, without that prefix
OLDER         both in files whose norms have `gamma` and `beta`
TF1           the authors' checkpoints, as arrays by name: kernels lie the other way round
BERT          all of them, for `BertPretraining`
BERT_BODY     all of them, for `Bert` alone
config_of     the architecture, as `config.json` describes it
described     the way back

The authors' checkpoints are TensorFlow's own format, which nothing here reads; saved as `.npz` under their
names they are.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rayformer.core.errors import DataError
from rayformer.nets.bert import Bert, BertConfig, BertPretraining
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.names import Pack, Rename, Rules

_BLOCK = "blocks.{i}."
_LAYER = "encoder.layer.{i}."
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "words.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    "embeddings.token_type_embeddings.weight": "kinds.weight",
}
_NORMS = {
    "embeddings.LayerNorm.": "norm.",
    _LAYER + "attention.output.LayerNorm.": _BLOCK + "norm_attention.",
    _LAYER + "output.LayerNorm.": _BLOCK + "norm_mlp.",
}
_LAYERS = {
    _LAYER + "attention.output.dense.": _BLOCK + "attention.to_output.",
    _LAYER + "intermediate.dense.": _BLOCK + "mlp.to_hidden.",
    _LAYER + "output.dense.": _BLOCK + "mlp.to_output.",
    "pooler.dense.": "pool.",
}
_PARTS = {"weight": "weight", "bias": "bias"}
_OLDER_PARTS = {"gamma": "weight", "beta": "bias"}
_TF1_PARTS = {"kernel": "weight", "bias": "bias"}


def _body(theirs: str, ours: str, norms: dict[str, str], layers: dict[str, str] = _PARTS) -> Rules:
    """The rules of the body, with what each side writes before its names; `norms` and `layers` are their
    words for weights and biases."""
    self_attention = theirs + _LAYER + "attention.self."
    return (
        *(Rename(theirs + their, ours + our) for their, our in _EMBEDDINGS.items()),
        *(
            Pack(
                tuple(f"{self_attention}{word}.{part}" for word in ("query", "key", "value")),
                f"{ours}{_BLOCK}attention.to_qkv.{our}",
            )
            for part, our in layers.items()
        ),
        *(
            Rename(theirs + their + part, ours + our + mine)
            for names, parts in ((_NORMS, norms), (_LAYERS, layers))
            for their, our in names.items()
            for part, mine in parts.items()
        ),
    )


def _heads(norms: dict[str, str]) -> Rules:
    return (
        Rename("cls.predictions.bias", "word_bias"),
        Rename("cls.predictions.transform.dense.{part}", "transform.{part}"),
        *(
            Rename(f"cls.predictions.transform.LayerNorm.{part}", f"norm.{our}")
            for part, our in norms.items()
        ),
        Rename("cls.seq_relationship.{part}", "follows.{part}"),
    )


TRANSFORMERS: Rules = (*_body("bert.", "bert.", _PARTS), *_heads(_PARTS))
TRANSFORMERS_OLDER: Rules = (*_body("bert.", "bert.", _OLDER_PARTS), *_heads(_OLDER_PARTS))
BODY: Rules = _body("", "bert.", _PARTS)
BODY_OLDER: Rules = _body("", "bert.", _OLDER_PARTS)

TF1: Rules = (
    *_body("bert.", "bert.", _OLDER_PARTS, _TF1_PARTS),
    Rename("cls.predictions.output_bias", "word_bias"),
    *(
        Rename(f"cls.predictions.transform.dense.{part}", f"transform.{our}")
        for part, our in _TF1_PARTS.items()
    ),
    *(
        Rename(f"cls.predictions.transform.LayerNorm.{part}", f"norm.{our}")
        for part, our in _OLDER_PARTS.items()
    ),
    Rename("cls.seq_relationship.output_weights", "follows.weight"),
    Rename("cls.seq_relationship.output_bias", "follows.bias"),
)

_TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
"""The embedding and the bias once more, as some files have them."""
_COMPUTED = ("embeddings.position_ids", *_TIED)
_TF1_COMPUTED = ("adam_m", "adam_v", "global_step")
_TF1_EMBEDDINGS = {f"bert.{name.removesuffix('.weight')}": f"bert.{name}" for name in _EMBEDDINGS}


def from_tf1(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Slashes become dots, layers lose their underscore, and kernels get their outputs first."""
    name = name.removesuffix(":0").replace("/", ".").replace("encoder.layer_", "encoder.layer.")
    name = _TF1_EMBEDDINGS.get(name, name)
    return name, tensor.T if name.endswith(".kernel") else tensor


def _without_prefix(rules: Rules) -> Rules:
    """The rules for the body alone, whose names of ours do not begin with `bert.`."""
    return tuple(
        replace(rule, ours=rule.ours.removeprefix("bert.")) for rule in rules if rule.ours.startswith("bert.")
    )


def fitted(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    """Fewer positions than the file has: its first ones."""
    own = dict(model.named_parameters())[name]
    if not name.endswith("positions.weight") or tensor.shape[1:] != own.shape[1:] or len(tensor) < len(own):
        return None
    return tensor[: len(own)]


def _formats(changed: Any = lambda rules: rules) -> dict[str, Format]:
    return {
        "transformers": Format(rules=changed(TRANSFORMERS), computed=_COMPUTED),
        "transformers, body alone": Format(rules=changed(BODY), computed=_COMPUTED),
        "transformers, older": Format(rules=changed(TRANSFORMERS_OLDER), computed=_COMPUTED),
        "transformers, older, body alone": Format(rules=changed(BODY_OLDER), computed=_COMPUTED),
        "tf1": Format(rules=changed(TF1), prepare=from_tf1, computed=_TF1_COMPUTED),
    }


BERT = Family(
    formats=_formats(),
    # What files have not that hold the body alone; some of them have no pooling layer either.
    head=("transform.", "norm.", "word_bias", "follows.", "bert.pool."),
    fitted=fitted,
)
BERT_BODY = Family(formats=_formats(_without_prefix), head=("pool.",), fitted=fitted)

_FIELDS = {
    "vocab_size": "vocabulary",
    "max_position_embeddings": "positions",
    "type_vocab_size": "kinds",
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "layer_norm_eps": "eps",
    "initializer_range": "initial",
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def config_of(path: str | Path) -> BertConfig:
    """The architecture that a `config.json`, or the folder that it lies in, describes. Raises DataError for
    one that is absent, or of a network that is no BERT."""
    path = Path(path).expanduser()
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: no such file, and nothing else says how large the network is.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        given = {ours: told[theirs] for theirs, ours in _FIELDS.items() if theirs in told}
        expansion = told.get("intermediate_size", 4 * told["hidden_size"]) / told["hidden_size"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the description of a BERT, which has a number for hidden_size."
        ) from error
    if told.get("model_type", "bert") != "bert":
        raise DataError(f"{path}: describes a network of type {told['model_type']!r}, not bert.")
    activation = _ACTIVATIONS.get(told.get("hidden_act", "gelu"))
    if activation is None:
        raise DataError(f"{path}: hidden_act is {told['hidden_act']!r}; known are {', '.join(_ACTIVATIONS)}.")
    return BertConfig(**given, expansion=expansion, activation=activation)  # type: ignore[arg-type]


def described(config: BertConfig, pad: int = 0) -> dict[str, Any]:
    """What `config.json` says of a network; `pad` is the number of [PAD]. Raises DataError for one that looks
    back only, which transformers' BertForPreTraining does not."""
    if config.objective == "causal":
        raise DataError("transformers' BertForPreTraining looks both ways; this network looks back only.")
    told = {theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()}
    return {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        **told,
        "intermediate_size": round(config.width * config.expansion),
        "hidden_act": "gelu" if config.activation == "gelu" else "gelu_new",
        "pad_token_id": pad,
    }


def family_of(model: Bert | BertPretraining) -> Family:
    return BERT if isinstance(model, BertPretraining) else BERT_BODY
