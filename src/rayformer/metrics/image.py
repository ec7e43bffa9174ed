"""How alike two pictures are.

    psnr_db       peak signal to noise ratio in dB, from the mean squared error
    ssim          structural similarity, 11 x 11 Gaussian windows
    Lpips         distance in the features of a network that recognises things
    open_lpips    that network from the user's file, or the reason why there is none

All take pictures in [0, 1] and give one number per picture: papers average PSNR over pictures, which is not
the PSNR of the average error.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import DataError, ShapeError, UserError


def psnr_db(
    predicted: Float[Tensor, "batch channels height width"],
    truth: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch"]:
    """-10 log10 of the mean squared error, in dB; infinite for equal pictures. 30 dB is an error of 3 %."""
    error = (predicted.float() - truth.float()).square().flatten(1).mean(dim=1)
    return -10 * error.log10()


def ssim(
    predicted: Float[Tensor, "batch channels height width"],
    truth: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch"]:
    """Mean structural similarity, at most 1 (Wang et al. 2004: window 11, sigma 1.5, K 0.01 and 0.03).

    Raises ShapeError for pictures smaller than a window, UserError where a broken torchvision is in the way.
    """
    if min(predicted.shape[-2:]) < 11:
        raise ShapeError(
            "ssim compares windows of 11 x 11 pixels and needs pictures at least that large, "
            f"but these have {predicted.shape[-1]} x {predicted.shape[-2]} pixels (width x height)."
        )
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure  # 2.5 s to import
    except RuntimeError as error:  # torchmetrics imports torchvision wherever there is one
        raise UserError(
            f"SSIM cannot be measured: torchvision is installed, but for another torch ({error}).\n"
            "Nothing here needs it: pip uninstall torchvision, or install the one that fits.\n"
            "What was trained is kept: then run `rayformer eval RUN`."
        ) from error

    # Variances are small differences of large means: in bf16, which autocast would choose, they are noise.
    with torch.autocast(predicted.device.type, enabled=False):
        each = structural_similarity_index_measure(
            predicted.float(), truth.float(), data_range=1.0, reduction="none"
        )
    assert isinstance(each, Tensor), "without full images or contrast, the measure is one tensor"
    return each.reshape(len(predicted))


class Lpips(nn.Module):
    """LPIPS with AlexNet, 0 for equal pictures (Zhang et al. 2018, https://arxiv.org/abs/1801.03924).

    Five feature maps of each picture, every pixel's features scaled to length one, squared differences
    weighed by learned heads, averaged over pixels and added up.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU()),
                nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
                nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            ]
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, 1, 1, bias=False) for channels in (64, 192, 384, 256, 256)
        )
        # ImageNet's mean and deviation, restated by LPIPS for pictures in [-1, 1].
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer(
            "deviation", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False
        )
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(
        self, predicted: Float[Tensor, "batch 3 height width"], truth: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch"]:
        if min(predicted.shape[-2:]) < 31:
            raise ShapeError(
                "LPIPS's AlexNet needs pictures of at least 31 x 31 pixels, "
                f"but these have {predicted.shape[-1]} x {predicted.shape[-2]} (width x height)."
            )
        with torch.autocast(predicted.device.type, enabled=False):
            here, there = self._scaled(predicted), self._scaled(truth)
            distance = predicted.new_zeros(len(predicted), dtype=torch.float32)
            for stage, head in zip(self.stages, self.heads, strict=True):
                here, there = stage(here), stage(there)
                distance += head((_unit(here) - _unit(there)).square()).mean(dim=(1, 2, 3))
        return distance

    def _scaled(self, picture: Tensor) -> Tensor:
        return (2 * picture.float() - 1 - self.mean) / self.deviation


def _unit(features: Tensor, eps: float = 1e-8) -> Tensor:
    return features / (features.square().sum(dim=1, keepdim=True) + eps).sqrt()


@dataclass(frozen=True)
class NoLpips:
    """There is no LPIPS; a report prints the reason in the place of the number."""

    reason: str


def open_lpips(backbone: Path | None) -> Lpips | NoLpips:
    """LPIPS with the AlexNet in `backbone` (torchvision's file), or the reason why there is none.

    The weights are the user's to fetch: nothing is downloaded here. The learned heads come with torchmetrics.
    Raises DataError if the file is there and is not such an AlexNet.
    """
    if backbone is None:
        return NoLpips(
            "LPIPS is not measured: it needs AlexNet's ImageNet weights "
            "(torchvision's alexnet-owt-7be5be79.pth)."
        )
    if not backbone.is_file():
        return NoLpips(f"LPIPS is not measured: there is no file {backbone}.")
    heads = _heads()
    if heads is None:
        return NoLpips("LPIPS is not measured: the installed torchmetrics does not bring its learned heads.")
    lpips = Lpips()
    try:
        weights = torch.load(backbone, map_location="cpu", weights_only=True)
        for stage, published in zip(lpips.stages, (0, 3, 6, 8, 10), strict=True):
            convolution = next(part for part in stage.children() if isinstance(part, nn.Conv2d))
            keys = {name: f"features.{published}.{name}" for name in ("weight", "bias")}
            convolution.load_state_dict({name: weights[key] for name, key in keys.items()})
    except Exception as error:  # torch.load and load_state_dict raise half a dozen unrelated kinds
        cause = f"has no {error}" if isinstance(error, KeyError) else str(error).strip().splitlines()[0]
        raise DataError(
            f"{backbone} does not hold torchvision's AlexNet weights: {cause}\n"
            "LPIPS needs the file alexnet-owt-7be5be79.pth as torchvision publishes it."
        ) from error
    for index, head in enumerate(lpips.heads):
        head.load_state_dict({"weight": heads[f"lin{index}.model.1.weight"]})
    return lpips


def _heads() -> dict[str, Tensor] | None:
    package = find_spec("torchmetrics")  # found, not imported: that takes 2.5 s
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / "functional/image/lpips_models/alex.pth"
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
