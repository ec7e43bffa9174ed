"""Every network that recognises pictures, by the name of its recipe, with all that belongs to it.

Recogniser   its config, its network, its published sizes, what others call its weights
FAMILIES     all of them
family_of    what others call the weights of a model, of these networks or of those that read
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from rayformer.core.errors import ConfigError
from rayformer.nets.bert import Bert, BertPretraining
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.convnext import SIZES as CONVNEXT_SIZES
from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.igpt import IGPT
from rayformer.nets.nfnet import SIZES as NFNET_SIZES
from rayformer.nets.nfnet import NFNet, NFNetConfig
from rayformer.nets.resnet_rs import SIZES as RESNET_SIZES
from rayformer.nets.resnet_rs import ResNet, ResNetConfig
from rayformer.nets.swin import SIZES as SWIN_SIZES
from rayformer.nets.swin import Swin, SwinConfig
from rayformer.nets.vit import SIZES as VIT_SIZES
from rayformer.nets.vit import ViT, ViTConfig
from rayformer.nets.weights.bert import BERT, BERT_BODY
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.convnext import CONVNEXT
from rayformer.nets.weights.family import Family
from rayformer.nets.weights.igpt import IGPT_WEIGHTS
from rayformer.nets.weights.nfnet import NFNET
from rayformer.nets.weights.resnet_rs import RESNET
from rayformer.nets.weights.swin import SWIN
from rayformer.nets.weights.vit import VIT


def as_it_is(model: Any, side: int) -> Any:
    return model


def with_positions(model: ViTConfig, side: int) -> ViTConfig:
    """Positions for pictures of that side, where it is a whole number of patches."""
    return model if side % model.patch_size else replace(model, image_size=side)


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    net: Callable[[Any, int], nn.Module]
    """(config, classes) -> the network, whose last layer is called `head`: its class."""
    config: type
    sizes: Mapping[str, Any]
    weights: Family
    for_side: Callable[[Any, int], Any] = as_it_is
    """(config, side of the pictures in pixels) -> the config of a network made for them."""


FAMILIES: Mapping[str, Recogniser] = {
    "vit": Recogniser(net=ViT, config=ViTConfig, sizes=VIT_SIZES, weights=VIT, for_side=with_positions),
    "swin": Recogniser(net=Swin, config=SwinConfig, sizes=SWIN_SIZES, weights=SWIN),
    "convnext": Recogniser(net=ConvNeXt, config=ConvNeXtConfig, sizes=CONVNEXT_SIZES, weights=CONVNEXT),
    "resnet-rs": Recogniser(net=ResNet, config=ResNetConfig, sizes=RESNET_SIZES, weights=RESNET),
    "nfnet": Recogniser(net=NFNet, config=NFNetConfig, sizes=NFNET_SIZES, weights=NFNET),
}

OTHERS: Mapping[type[nn.Module], Family] = {
    Bert: BERT_BODY,
    BertPretraining: BERT,
    BertClassifier: BERT_CLASSIFIER,
    IGPT: IGPT_WEIGHTS,
}
"""Networks that are no recognisers, whose weights others have published, too."""


def family_of(model: nn.Module) -> Family:
    """Raises ConfigError for a model of another kind."""
    for recogniser in FAMILIES.values():
        if isinstance(recogniser.net, type) and isinstance(model, recogniser.net):
            return recogniser.weights
    for kind, family in OTHERS.items():
        if isinstance(model, kind):
            return family
    known = [recogniser.net for recogniser in FAMILIES.values()] + list(OTHERS)
    raise ConfigError(
        f"nothing is known of published weights for a {type(model).__name__}, only for "
        f"{', '.join(getattr(kind, '__name__', str(kind)) for kind in known)}.\n"
        "Give the family of formats as the third argument (nets/weights/family.py)."
    )
