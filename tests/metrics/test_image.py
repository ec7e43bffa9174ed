"""PSNR and SSIM by closed form; LPIPS against torchmetrics' network with the same random backbone."""

import sys

import pytest
import torch
from torch import nn

from rayformer.core.errors import DataError, ShapeError, UserError
from rayformer.metrics.image import Lpips, NoLpips, open_lpips, psnr_db, ssim


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_an_error_of_a_tenth_is_20_db():
    picture = torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(psnr_db(picture, picture + 0.1), torch.tensor([20.0]), atol=1e-4, rtol=0)


def test_equal_pictures_have_infinite_psnr_and_ssim_one():
    picture = drawn(1, 3, 16, 16)
    assert psnr_db(picture, picture).item() == float("inf")
    torch.testing.assert_close(ssim(picture, picture), torch.ones(1))


def test_pictures_are_measured_one_by_one():
    a, b = drawn(3, 3, 16, 16), drawn(3, 3, 16, 16, seed=1)
    for measure in (psnr_db, ssim):
        each = torch.cat([measure(a[i : i + 1], b[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(measure(a, b), each)


def test_a_torchvision_of_another_torch_is_named_as_what_is_in_the_way(monkeypatch):
    class Broken:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "torchmetrics.functional.image":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "torchmetrics.functional.image", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(UserError, match="pip uninstall torchvision"):
        ssim(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))


def test_noise_lowers_ssim():
    picture = drawn(1, 3, 32, 32)
    little, much = picture + 0.05 * drawn(1, 3, 32, 32, seed=1), picture + 0.5 * drawn(1, 3, 32, 32, seed=1)
    assert ssim(picture, much).item() < ssim(picture, little).item() < 1


def test_a_picture_smaller_than_the_window_is_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        ssim(drawn(1, 3, 10, 40), drawn(1, 3, 10, 40))
    snapshot("ssim_window", str(refusal.value))


@pytest.fixture
def alexnet():
    """The feature stack of torchvision's AlexNet, by its published layer numbers, with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


@pytest.fixture
def backbone_file(alexnet, tmp_path):
    path = tmp_path / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in alexnet.state_dict().items()}, path)
    return path


def test_lpips_equals_torchmetrics_with_the_same_backbone(alexnet, backbone_file, monkeypatch):
    from torchmetrics.functional.image import lpips as peer

    monkeypatch.setattr(peer, "_get_tv_model_features", lambda *_: alexnet)
    theirs, ours = peer._LPIPS(net="alex"), open_lpips(backbone_file)
    assert isinstance(ours, Lpips)
    a, b = drawn(2, 3, 64, 48), drawn(2, 3, 64, 48, seed=1)
    torch.testing.assert_close(ours(a, b), theirs(a, b, normalize=True).flatten())
    assert torch.equal(ours(a, a), torch.zeros(2))


def test_without_weights_there_is_a_reason_and_no_number(tmp_path, snapshot):
    for name, path in {"no_weights": None, "no_file": tmp_path / "alexnet.pth"}.items():
        absent = open_lpips(path)
        assert isinstance(absent, NoLpips)
        snapshot(name, absent.reason)


def test_a_file_of_other_weights_is_refused(tmp_path, snapshot):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(DataError) as refusal:
        open_lpips(path)
    snapshot("other_weights", str(refusal.value))


def test_a_file_that_is_no_weights_at_all_is_refused(tmp_path):
    path = tmp_path / "photo.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="does not hold"):
        open_lpips(path)


def test_lpips_refuses_pictures_too_small_for_its_network(snapshot):
    with pytest.raises(ShapeError) as refusal:
        Lpips()(drawn(1, 3, 16, 64), drawn(1, 3, 16, 64))
    snapshot("lpips_size", str(refusal.value))


@pytest.mark.parametrize("metric", [psnr_db, ssim])
def test_metrics_do_not_follow_autocast_into_bf16(metric):
    """Evaluation runs under autocast; a smooth picture's variances would be lost in bf16."""
    ramp = torch.linspace(0.4, 0.6, 32).expand(1, 3, 32, 32)
    other = ramp + 0.02 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = metric(ramp, other)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(metric(ramp, other), plain)
