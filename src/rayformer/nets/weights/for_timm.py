"""How timm builds the networks that are ours, so that their weights work there.

    ForTimm      a name that timm knows, arguments where the network differs from it, weights
    for_timm     of a network; where timm has no such network, ConfigError with the field in the way

timm 1.0. A network is called by the published size that it is nearest to; the arguments, which timm's
`create_model` takes, are what else tells it apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.nets import convnext, nfnet, resnet_rs, swin, vit
from rayformer.nets.weights.convnext import CONVNEXT
from rayformer.nets.weights.family import Family
from rayformer.nets.weights.loading import exported, form_of
from rayformer.nets.weights.names import published_names
from rayformer.nets.weights.nfnet import NFNET
from rayformer.nets.weights.resnet_rs import RESNET
from rayformer.nets.weights.swin import SWIN
from rayformer.nets.weights.vit import VIT

Arguments = dict[str, Any]
SIDE = 224
"""Of the pictures that timm's names are for."""
COARSEST = 32
"""Pixels to a place of the last map; where we would go on halving, timm dilates."""


@dataclass(frozen=True, kw_only=True)
class ForTimm:
    architecture: str
    arguments: Mapping[str, Any]
    """Plain values; none where the network is what its name says."""
    weights: Mapping[str, Tensor]
    features: int
    """Numbers that are classified."""
    first: str
    """timm's name of the layer that sees the picture."""
    head: str
    """timm's name of the layer that knows the classes."""
    any_size: bool
    """Whether pictures of other sizes may come."""


def for_timm(net: nn.Module, image_size: int) -> ForTimm:
    """`image_size` is the side of the pictures that it is to see. Raises ConfigError for a network that timm
    cannot build."""
    if type(net) not in _KINDS:
        known = ", ".join(kind.__name__ for kind in _KINDS)
        raise ConfigError(
            f"timm has no such network: it has those like {known}, but this is a {type(net).__name__}."
        )
    kind, config = _KINDS[type(net)], net.config
    kind.demands(config, image_size)
    wanted = kind.arguments(config, image_size)
    others = {name: _different(wanted, kind.arguments(one, SIDE)) for name, one in kind.named(config).items()}
    architecture = min(others, key=lambda name: len(others[name]))
    form = form_of(net, kind.family)
    weights = kind.adapted(exported(net, kind.family, form), config, image_size)
    (head,), _ = published_names(
        {"head.weight": net.get_parameter("head.weight")}, kind.family.formats[form].rules
    )
    return ForTimm(
        architecture=architecture,
        arguments=others[architecture],
        weights=weights,
        features=net.get_parameter("head.weight").shape[1],
        first=next(name for name, tensor in weights.items() if tensor.ndim == 4).removesuffix(".weight"),
        head=head.removesuffix(".weight"),
        any_size=kind.any_size,
    )


# ---------------------------------------------------------------------- ViT


def _vit(config: vit.ViTConfig, image_size: int) -> Arguments:
    return {
        "img_size": image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": config.expansion,
        "qkv_bias": config.qkv_bias,
        # A number only says that there are scales; what they are is in the weights.
        "init_values": None if config.layer_scale is None else config.layer_scale or 1.0,
        "class_token": config.class_token,
        "global_pool": {"class": "token", "mean": "avg"}[config.pool],
        "act_layer": config.activation,
    }


def _vit_demands(config: vit.ViTConfig, image_size: int) -> None:
    _demand(config.eps == 1e-6, "eps", config.eps, "its ViTs add 1e-6 to variances")
    _demand_expansion(config.width, config.expansion)


def _vit_named(config: vit.ViTConfig) -> dict[str, vit.ViTConfig]:
    return {
        f"vit_{name}_patch{patch}_224": replace(vit.SIZES[size], patch_size=patch)
        for size, name, patches in [
            ("ti", "tiny", [16]),
            ("s", "small", [16, 32, 8]),
            ("b", "base", [16, 32, 8]),
            ("l", "large", [16, 32, 14]),
            ("h", "huge", [14]),
        ]
        for patch in patches
    }


# ---------------------------------------------------------------------- Swin


def _swin(config: swin.SwinConfig, image_size: int) -> Arguments:
    return {
        "img_size": image_size,
        "patch_size": config.patch_size,
        "window_size": config.window,
        "embed_dim": config.width,
        "depths": list(config.depths),
        "num_heads": list(config.heads),
        "mlp_ratio": config.expansion,
        "qkv_bias": config.qkv_bias,
    }


def _swin_demands(config: swin.SwinConfig, image_size: int) -> None:
    _demand(config.eps == 1e-5, "eps", config.eps, "its Swins add 1e-5 to variances")
    whole = image_size % config.patch_size == 0
    _demand(whole, "patch_size", config.patch_size, f"its patches cover a side of {image_size} pixels evenly")
    for stage, side in enumerate(_sides(config, image_size)):
        _demand_expansion(config.width * 2**stage, config.expansion)
        _demand(
            side <= config.window or side % config.window == 0,
            "window",
            config.window,
            "where windows do not cover a map evenly it answers otherwise, and that of stage "
            f"{stage + 1} has a side of {side}",
        )


def _swin_named(config: swin.SwinConfig) -> dict[str, swin.SwinConfig]:
    names = {"t": "tiny", "s": "small", "b": "base", "l": "large"}
    return {f"swin_{name}_patch4_window7_224": swin.SIZES[size] for size, name in names.items()}


def _sides(config: swin.SwinConfig, image_size: int) -> list[int]:
    """Of the map of each stage, in places."""
    sides = [image_size // config.patch_size]
    for _ in config.depths[1:]:
        sides.append(-(-sides[-1] // 2))
    return sides


def _middles(weights: Mapping[str, Tensor], config: swin.SwinConfig, image_size: int) -> dict[str, Tensor]:
    """Where a map is smaller than a window, timm's window is the map, with steps no longer than its own."""
    adapted, sides, table = dict(weights), _sides(config, image_size), 2 * config.window - 1
    for name, tensor in weights.items():
        if name.endswith("relative_position_bias_table"):
            cut = max(config.window - sides[int(name.split(".")[1])], 0)
            steps = tensor.unflatten(0, (table, table))[cut : table - cut, cut : table - cut]
            adapted[name] = steps.flatten(0, 1).contiguous()
    return adapted


# ---------------------------------------------------------------------- ConvNeXt


def _convnext(config: convnext.ConvNeXtConfig, image_size: int) -> Arguments:
    return {
        "depths": list(config.depths),
        "dims": list(config.widths),
        "kernel_sizes": config.kernel,
        "patch_size": config.patch_size,
    }


def _convnext_demands(config: convnext.ConvNeXtConfig, image_size: int) -> None:
    _demand(len(config.depths) == 4, "depths", config.depths, "its ConvNeXts have four stages")
    # Patches of 2 are halved once more than ours, and those of 8 once less.
    fits = config.patch_size != 2 and config.patch_size * 4 < COARSEST
    _demand(fits, "patch_size", config.patch_size, "its ConvNeXts begin with patches of 4, or 1, 3, 5, 6, 7")
    _demand(config.expansion == 4, "expansion", config.expansion, "its ConvNeXts are 4 times as wide inside")
    _demand(config.layer_scale > 0, "layer_scale", config.layer_scale, "its ConvNeXts have layer scales")


def _convnext_named(config: convnext.ConvNeXtConfig) -> dict[str, convnext.ConvNeXtConfig]:
    names = {"t": "tiny", "s": "small", "b": "base", "l": "large", "xl": "xlarge"}
    return {f"convnext_{name}": convnext.SIZES[size] for size, name in names.items()}


# ---------------------------------------------------------------------- ResNet


def _resnet(config: resnet_rs.ResNetConfig, image_size: int) -> Arguments:
    return {
        "layers": list(config.depths),
        "channels": [config.width * 2**stage for stage in range(4)],
        "stem_type": "deep" if config.deep_stem else "",
        "stem_width": config.width // 2 if config.deep_stem else 64,
        "replace_stem_pool": not config.max_pool,
        "avg_down": config.pooled_shortcut,
    }


def _resnet_demands(config: resnet_rs.ResNetConfig, image_size: int) -> None:
    _demand(len(config.depths) == 4, "depths", config.depths, "its ResNets have four stages")
    halvings = config.stem_halvings
    _demand(halvings == 2, "stem_halvings", halvings, "its ResNets halve the picture twice in the stem")
    wide = config.deep_stem or config.width == 64
    _demand(wide, "width", config.width, "its stem of one convolution has 64 channels")
    named = config.squeeze in (0, 1 / 16, 0.25)
    _demand(named, "squeeze", config.squeeze, "its ResNets squeeze to 0, 0.0625 or 0.25")


def _resnet_named(config: resnet_rs.ResNetConfig) -> dict[str, resnet_rs.ResNetConfig]:
    """How a network squeezes only its name can say."""
    plain = resnet_rs.PLAIN
    if config.squeeze == 0.25:
        return {f"resnetrs{size}": one for size, one in resnet_rs.SIZES.items() if "plain" not in size}
    if config.squeeze:
        return {"seresnet50": replace(plain, squeeze=config.squeeze)}
    return {f"resnet{size}": resnet_rs.SIZES[f"plain-{size}"] for size in ("50", "200")}


# ---------------------------------------------------------------------- NF-Net


def _nfnet(config: nfnet.NFNetConfig, image_size: int) -> Arguments:
    return {
        "depths": list(config.depths),
        "channels": list(config.widths),
        "stem_chs": config.stem_width,
        "group_size": config.group_width,
        "num_features": config.last_width,
        "alpha": config.alpha,
        "attn_kwargs": {"rd_ratio": config.squeeze},
    }


def _nfnet_demands(config: nfnet.NFNetConfig, image_size: int) -> None:
    _demand(len(config.depths) <= 4, "depths", config.depths, "its NF-Nets have four stages at most")
    halvings = config.stem_halvings
    _demand(halvings == 2, "stem_halvings", halvings, "its NF-Nets halve the picture twice in the stem")
    even = all(width % 16 == 0 for width in config.widths)
    _demand(even, "widths", config.widths, "its NF-Nets have widths that are multiples of 16")
    last = config.last_width
    _demand(last % 8 == 0, "last_width", last, "its NF-Nets have a last width that is a multiple of 8")


def _nfnet_named(config: nfnet.NFNetConfig) -> dict[str, nfnet.NFNetConfig]:
    return {f"dm_nfnet_{size}": one for size, one in nfnet.SIZES.items() if size != "f7"}


# ---------------------------------------------------------------------- all of them


@dataclass(frozen=True, kw_only=True)
class _Kind:
    family: Family
    arguments: Callable[[Any, int], Arguments]
    demands: Callable[[Any, int], None]
    named: Callable[[Any], Mapping[str, Any]]
    """Sizes that timm has a name for, from which a config may differ."""
    any_size: bool = True
    adapted: Callable[[Mapping[str, Tensor], Any, int], Mapping[str, Tensor]] = lambda weights, *_: weights


_KINDS: Mapping[type[nn.Module], _Kind] = {
    vit.ViT: _Kind(family=VIT, arguments=_vit, demands=_vit_demands, named=_vit_named, any_size=False),
    swin.Swin: _Kind(
        family=SWIN,
        arguments=_swin,
        demands=_swin_demands,
        named=_swin_named,
        any_size=False,
        adapted=_middles,
    ),
    convnext.ConvNeXt: _Kind(
        family=CONVNEXT, arguments=_convnext, demands=_convnext_demands, named=_convnext_named
    ),
    resnet_rs.ResNet: _Kind(family=RESNET, arguments=_resnet, demands=_resnet_demands, named=_resnet_named),
    nfnet.NFNet: _Kind(family=NFNET, arguments=_nfnet, demands=_nfnet_demands, named=_nfnet_named),
}


def _different(wanted: Arguments, named: Arguments) -> Arguments:
    return {name: value for name, value in wanted.items() if value != named[name]}


def _demand(holds: bool, field: str, value: Any, rule: str) -> None:
    if not holds:
        said = " ".join(map(str, value)) if isinstance(value, tuple) else value
        raise ConfigError(f"timm has no such network: {rule}, but model.{field} is {said}.")


def _demand_expansion(width: int, expansion: float) -> None:
    """timm rounds the width of an MLP down."""
    fits = int(width * expansion) == round(width * expansion)
    _demand(fits, "expansion", expansion, f"{width} channels times it are rounded down there and up here")
