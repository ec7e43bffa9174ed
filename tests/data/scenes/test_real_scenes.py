"""Real captures, read with the right conventions: what one photograph shows lies on the rays of another.

A small matcher stands in for the usual libraries. Textured patches of photograph A are moved along their
rays, depth by depth, and looked for in B where the cameras say that they must appear, and in a band beside
that line. With right conventions the best likeness lies on the line; with an axis turned the wrong way, or
poses inverted, it does not, which is tested as well.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from rayformer.data.scenes.pixels import load_view
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import Scene, SceneConfig, View
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.rays import camera_rays

pytestmark = pytest.mark.real

BAND = 8
"""Pixels that are searched on either side of the line."""
DEPTHS = 128
REACH = 3
"""A patch has 2 * REACH + 1 pixels a side."""


@dataclass(frozen=True)
class Matches:
    offsets: Tensor
    """Pixels from the predicted line to the best likeness, of the patches that were found."""
    depths: Tensor
    """How far along the axis of A these patches lie."""
    tried: int

    @property
    def median(self) -> float:
        """The median distance from the line, in pixels; BAND if nothing was found."""
        return self.offsets.abs().median().item() if len(self.offsets) else BAND

    @property
    def share_on_line(self) -> float:
        """The share of all patches that were found within 1.5 pixels of the line."""
        return (self.offsets.abs() <= 1.5).sum().item() / self.tried


def match(
    camera_a: Camera,
    grey_a: Tensor,
    camera_b: Camera,
    grey_b: Tensor,
    near: float,
    far: float,
    usable: Tensor | None = None,
    count: int = 48,
) -> Matches:
    """Look for `count` patches of A in B. `near` and `far` bound their depth; `usable` masks A."""
    centres = _corners(grey_a, count, usable)
    steps = torch.arange(-REACH, REACH + 1).double()
    patch = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(-1, 2)
    pixels = (centres[:, None] + patch).reshape(-1, 2)
    rays = camera_rays(camera_a, pixels, dtype=torch.float64)
    along_axis = (rays.directions @ camera_a.direction)[:, None]
    depths = 1 / torch.linspace(1 / far, 1 / near, DEPTHS).double()
    places, ahead = project(camera_b, rays.points(depths / along_axis).reshape(-1, 3))
    places = places.view(len(centres), len(patch), DEPTHS, 2)
    visible = (ahead.view(len(centres), len(patch), DEPTHS) > 0).all(dim=1)
    size = torch.tensor([camera_b.width, camera_b.height])
    visible &= ((places > REACH) & (places < size - REACH)).all(dim=-1).all(dim=1)

    line = places[:, len(patch) // 2]
    run = torch.gradient(line, dim=1)[0]
    normal = torch.stack([-run[..., 1], run[..., 0]], dim=-1)
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    wanted = _normalised(_sample(grey_a, pixels).view(len(centres), len(patch), 1))
    likeness = []
    for offset in range(-BAND, BAND + 1):
        moved = places + offset * normal[:, None]
        seen = _normalised(_sample(grey_b, moved.reshape(-1, 2)).view(len(centres), len(patch), DEPTHS))
        likeness.append(torch.where(visible, (wanted * seen).sum(dim=1), -1))
    scores = torch.stack(likeness)  # offset, patch, depth
    over_depth = scores.max(dim=2)
    best, row = over_depth.values.max(dim=0)
    inside = (row > 0) & (row < 2 * BAND)  # at the band's edge nothing tells where the best lies
    found = (best > 0.85) & (visible.double().mean(dim=1) > 0.2)
    row_in = row.clamp(1, 2 * BAND - 1)
    at = torch.arange(len(centres))
    left, middle, right = (over_depth.values[row_in + step, at] for step in (-1, 0, 1))
    vertex = 0.5 * (left - right) / (left - 2 * middle + right).clamp(max=-1e-9)
    offsets = row - BAND + torch.where(inside, vertex.clamp(-0.5, 0.5), torch.zeros_like(vertex))
    at_depth = depths[over_depth.indices[row, at]]
    return Matches(offsets[found], at_depth[found], len(centres))


def _corners(grey: Tensor, count: int, usable: Tensor | None) -> Tensor:
    """Pixel centres of the most corner-like places, one per neighbourhood, well inside the picture."""
    y_slope, x_slope = torch.gradient(grey)
    products = torch.stack([x_slope**2, x_slope * y_slope, y_slope**2])[:, None]
    xx, xy, yy = torch.nn.functional.avg_pool2d(products, 7, 1, 3)[:, 0]
    least = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    if usable is not None:  # only patches that count in every pixel
        bad = torch.nn.functional.max_pool2d((~usable)[None, None].float(), 2 * REACH + 3, 1, REACH + 1)
        least = torch.where(bad[0, 0] > 0, 0, least)
    margin = 3 * REACH
    inner = torch.zeros_like(least)
    inner[margin:-margin, margin:-margin] = least[margin:-margin, margin:-margin]
    peaks = torch.nn.functional.max_pool2d(inner[None, None], 15, 1, 7)[0, 0]
    inner = torch.where(inner == peaks, inner, 0).flatten()
    best = inner.topk(count).indices[inner.topk(count).values > 1e-5]
    return torch.stack([best % grey.shape[1], best // grey.shape[1]], dim=-1) + 0.5


def _sample(grey: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear values at pixel coordinates with centres at +0.5."""
    size = torch.tensor([grey.shape[1], grey.shape[0]])
    grid = (2 * pixels / size - 1).to(grey)[None, None]
    return torch.nn.functional.grid_sample(grey[None, None], grid, align_corners=False)[0, 0, 0]


def _normalised(patches: Tensor) -> Tensor:
    """Mean 0 and length 1 over the pixels of each patch (axis 1); flat patches resemble nothing."""
    centred = patches - patches.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-2)


# ------------------------------------------------------------------------------------------ the captures


def as_opencv(camera: Camera) -> Camera:
    """The mistake of taking OpenGL axes for OpenCV ones, or the other way round."""
    return camera.at(camera.pose * torch.tensor([1.0, -1, -1, 1]).double())


def inverted(camera: Camera) -> Camera:
    """The mistake of taking world-to-camera for camera-to-world."""
    return camera.at(torch.linalg.inv(camera.pose))


def grey(view: View) -> tuple[Tensor, Tensor | None]:
    """A view's picture in grey over white, and which pixels count."""
    picture, mask = load_view(view)
    values = torch.from_numpy(picture) / 255
    if values.shape[2] == 4:
        values = values[..., :3] * values[..., 3:] + 1 - values[..., 3:]
    return values.mean(dim=-1), None if mask is None else torch.from_numpy(mask)


def pair(scene: Scene, first: str, second: str) -> tuple[View, View]:
    named = {view.name: view for view in scene.views}
    return named[first], named[second]


def matches(a: View, b: View, near: float, far: float, mistake=lambda camera: camera) -> Matches:
    (grey_a, usable), (grey_b, _) = grey(a), grey(b)
    return match(mistake(a.camera), grey_a, mistake(b.camera), grey_b, near, far, usable)


def agrees(a: View, b: View, near: float, far: float, pixels: float, share: float) -> None:
    """Points meet on their rays, and do so no longer if the poses are read the wrong way."""
    right = matches(a, b, near, far)
    assert right.median < pixels, f"{a.name} and {b.name}: {right.median:.2f} px from the line"
    assert right.share_on_line > share
    for mistake in (as_opencv, inverted):
        wrong = matches(a, b, near, far, mistake)
        assert wrong.share_on_line < 0.5 * right.share_on_line, f"{mistake.__name__} should not pass"


def test_fox_photographs_meet_on_their_rays(real_data):
    scene = read_scene(SceneConfig(source=str(real_data("nerf_fox"))))
    assert len(scene.views) == 50
    assert not scene.views[0].camera.lens.is_pinhole
    agrees(*pair(scene, "images/0077.jpg", "images/0078.jpg"), 0.2, 2.0, pixels=0.6, share=0.6)


def test_fox_lists_absent_photographs_and_says_so(real_data, tmp_path):
    folder = real_data("nerf_fox")
    (tmp_path / "images").symlink_to(folder / "images")
    text = (folder / "transforms_original.json").read_text()
    (tmp_path / "transforms.json").write_text(text)
    scene = read_scene(SceneConfig(source=str(tmp_path)))
    assert len(scene.views) == 50
    assert any("17 of 67 listed photographs are absent" in remark for remark in scene.remarks)
    assert any("50 photographs are 0.5 times as large" in remark for remark in scene.remarks)
    half = read_scene(SceneConfig(source=str(folder)))
    for one, other in zip(scene.views, half.views, strict=True):
        torch.testing.assert_close(one.camera.intrinsics, other.camera.intrinsics)


def test_undistorted_fox_photographs_meet_on_straight_rays(real_data):
    scene = read_scene(SceneConfig(source=str(real_data("nerf_fox")), undistort=True, width=270))
    a, b = pair(scene, "images/0077.jpg", "images/0078.jpg")
    assert a.camera.lens.is_pinhole
    assert matches(a, b, 0.2, 2.0).median < 0.6


def test_lego_renders_meet_on_their_rays(real_data):
    scene = read_scene(SceneConfig(source=str(real_data("nerf_lego"))))
    assert [len(scene.split(part)) for part in ("train", "val", "test")] == [100, 20, 40]
    assert (scene.near, scene.far, scene.background) == (2, 6, (1, 1, 1))
    agrees(*pair(scene, "train/r_30.png", "train/r_77.png"), 2, 6, pixels=0.2, share=0.8)


def test_statue_photographs_by_many_hands_meet_on_their_rays(real_data):
    scene = read_scene(SceneConfig(source=str(real_data("statue_of_liberty"))))
    assert scene.format == "LLFF"
    assert not scene.forward_facing
    assert any("sparse/0 is incomplete (images.bin is missing)" in remark for remark in scene.remarks)
    a, b = pair(scene, "images/19056327848_cbd77378ec_o.jpg", "images/19247690031_72ca044a91_o.jpg")
    assert a.mask is not None
    agrees(a, b, a.near, a.far, pixels=1.0, share=0.5)


@pytest.mark.parametrize("sequence", [1, 2])
def test_a_street_drive_meets_on_its_rays(sequence, real_data):
    scene = read_scene(SceneConfig(source=str(real_data("kitti_odometry") / f"KITTI_sequence_{sequence}")))
    assert len(scene.views) == 51
    assert not scene.forward_facing
    near, far = 6 * scene.normalisation.scale, 120 * scene.normalisation.scale  # metres
    agrees(*pair(scene, "image_l/000020.png", "image_l/000022.png"), near, far, pixels=0.7, share=0.35)
