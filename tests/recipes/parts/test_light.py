"""The light of a held-out photograph: fitted to its left half and to nothing else, judged on the right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.task import Setting
from rayformer.fields.parts.scene_field import AppearingField
from rayformer.fields.parts.volume import Rendered
from rayformer.recipes.parts.light import Fit, fitted_code, fitted_to_half, left_half
from rayformer.recipes.parts.scene import SceneTask, SceneTraining
from rayformer.recipes.parts.scene_view import SceneView, Window, code_named
from tests.data.scenes import scene_folders as folders

SIZE = (24, 12)


class Fog(torch.nn.Module):
    """One opaque colour wherever one looks: the code itself."""

    samples_per_ray, code_size = 1, 3

    def __init__(self, codes):
        super().__init__()
        self.codes = torch.nn.Parameter(codes)

    def code_of(self, view):
        return self.codes[view % 2]

    def usual_code(self):
        return self.codes.mean(dim=0)

    def in_light(self, code):
        return Lit(code)

    def render(self, rays, background):
        return self.in_light(self.usual_code()).render(rays, background)

    def loss(self, rays, colours, background, generator): ...

    def radiance(self, positions, directions): ...


class Lit:
    samples_per_ray = 1

    def __init__(self, code):
        self.code = code

    def render(self, rays, background):
        ones = torch.ones(len(rays))
        return Rendered(self.code.expand(len(rays), 3), ones[:, None], ones, ones)

    def loss(self, rays, colours, background, generator): ...

    def radiance(self, positions, directions): ...


def fog() -> Fog:
    return Fog(torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.5, 0.3]]))


LEFT, RIGHT = (51, 102, 204), (76, 127, 178)


@pytest.fixture
def photos(tmp_path):
    """Six photographs of different sizes, each of one colour on the left and of another on the right."""
    cameras = [
        camera.scaled(2 * SIZE[0], 2 * SIZE[1]) if number % 2 else camera
        for number, camera in enumerate(folders.ring(6, width=SIZE[0], height=SIZE[1]))
    ]
    folders.transforms(tmp_path, cameras)
    for number, camera in enumerate(cameras):
        picture = np.empty((camera.height, camera.width, 3), np.uint8)
        picture[:, : camera.width // 2], picture[:, camera.width // 2 :] = LEFT, RIGHT
        folders.save(tmp_path / folders.name(number), picture)
    return tmp_path


def scene_at(folder, **changes):
    return read_scene(SceneConfig(source=str(folder), holdout_every=3, **changes))


def task(scene, tmp_path, field=None, **options) -> SceneTask:
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    return SceneTask(field or fog(), scene, SceneTraining(shown_views=1, **options), False, setting)


def db(truth, guess) -> float:
    return -10 * np.log10(np.mean(np.square(np.subtract(truth, guess) / 255)))


def alone(scene, number=0):
    return replace(scene, views=(scene.split("test")[number],))


def test_the_fitted_code_is_the_one_that_explains_the_left_half_best(photos):
    scene = scene_at(photos)
    assert isinstance(fog(), AppearingField)
    code = fitted_to_half(fog(), alone(scene), Window(scene), torch.device("cpu"), seed=0)
    torch.testing.assert_close(code * 255, torch.tensor(LEFT).float(), atol=3.0, rtol=0)


def test_nothing_of_the_right_half_is_read(photos):
    scene = scene_at(photos)
    before = fitted_to_half(fog(), alone(scene), Window(scene), torch.device("cpu"), seed=0)
    path = alone(scene).views[0].image
    picture = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    picture[:, : SIZE[0] // 2], picture[:, SIZE[0] // 2 :] = LEFT, (255, 0, 255)
    folders.save(path, picture)
    after = fitted_to_half(fog(), alone(scene), Window(scene), torch.device("cpu"), seed=0)
    assert torch.equal(before, after)
    picture[0, 0] = (255, 0, 255)
    folders.save(path, picture)
    other = fitted_to_half(fog(), alone(scene), Window(scene), torch.device("cpu"), seed=0)
    assert not torch.equal(before, other), "the left half is read"


def test_the_left_half_leaves_out_what_a_mask_leaves_out(photos):
    scene = scene_at(photos)
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[2:5, 3:] = 255
    path = folders.save(photos / "mask.png", mask)
    masked = replace(scene, views=(replace(alone(scene).views[0], mask=path),))
    store = PixelStore(masked, "test")
    assert len(left_half(store)) == 3 * (SIZE[0] // 2 - 3)
    _, colours, _ = store.rays(left_half(store))
    assert (colours * 255 == torch.tensor(LEFT)).all()
    mask[:, : SIZE[0] // 2] = 0
    folders.save(path, mask)
    code = fitted_to_half(fog(), masked, Window(scene), torch.device("cpu"), seed=0)
    assert torch.equal(code, fog().usual_code()), "where nothing may be looked at, the light is the usual one"


def test_the_field_stays_as_it_is_and_may_be_taught_afterwards():
    field = fog()
    kept = field.codes.detach().clone()
    sight = lambda step: (four_rays(), torch.zeros(4, 3), torch.zeros(4, 3))  # noqa: E731
    code = fitted_code(
        field, sight, start=torch.tensor([0.5, 0.5, 0.5]), fit=Fit(steps=200, rays=4, rate=0.05)
    )
    assert code.abs().max() < 0.02
    assert torch.equal(field.codes, kept)
    assert field.codes.requires_grad
    assert field.codes.grad is None


def four_rays():
    from rayformer.geometry.rays import Rays

    ones = torch.ones(4)
    towards = torch.tensor([[0.0, 0.0, -1.0]]).expand(4, 3)
    return Rays(torch.zeros(4, 3), towards, towards, ones, 2 * ones)


def test_right_halves_are_judged_in_the_fitted_light_and_whole_views_in_the_usual_one(photos, tmp_path):
    result = task(scene_at(photos), tmp_path).evaluate("test", torch.Generator())
    assert list(result) == ["psnr_db", "ssim", "usual_psnr_db", "usual_ssim"]
    assert result["psnr_db"] == pytest.approx(db(RIGHT, LEFT), abs=0.3)
    usual = np.array([0.5, 0.3, 0.2]) * 255
    halves = [np.mean(np.square((np.array(side) - usual) / 255)) for side in (LEFT, RIGHT)]
    assert result["usual_psnr_db"] == pytest.approx(-10 * np.log10(np.mean(halves)), abs=0.05)


@pytest.mark.parametrize(("light", "code"), [("first", [0.1, 0.1, 0.1]), ("usual", [0.5, 0.3, 0.2])])
def test_whole_views_may_be_judged_in_a_known_light_instead(photos, tmp_path, light, code):
    result = task(scene_at(photos), tmp_path, held_out_light=light).evaluate("test", torch.Generator())
    assert list(result) == ["psnr_db", "ssim"]
    halves = [np.mean(np.square(np.array(side) / 255 - np.array(code))) for side in (LEFT, RIGHT)]
    assert result["psnr_db"] == pytest.approx(-10 * np.log10(np.mean(halves)), abs=0.05)


def test_a_field_of_one_light_is_measured_as_ever(photos, tmp_path):
    field = fog()
    field.code_size = 0
    plain = task(scene_at(photos), tmp_path, field).evaluate("test", torch.Generator())
    assert list(plain) == ["psnr_db", "ssim"]


def test_photographs_are_shown_in_the_lights_of_others(photos, tmp_path):
    shown = task(scene_at(photos), tmp_path).pictures()
    assert set(shown) == {"held-out/0000", "lights/one-view"}
    strip = shown["lights/one-view"]
    assert "images/001.png" in strip.caption
    assert (strip.pixels == np.uint8([26, 26, 26])).all(axis=-1).mean() > 0.1, "the light of the first"


# ---------------------------------------------------------------- asked for by a name


def view(scene, field=None) -> SceneView:
    from rayformer.engine.precision import choose_precision

    return SceneView(
        field or fog(), Window(scene), torch.device("cpu"), choose_precision(torch.device("cpu"), "32")
    )


def test_a_light_is_named_as_its_photograph_whole_without_folder_or_without_suffix(photos):
    scene = scene_at(photos)
    train = scene.split("train")[:2]
    for name in ("images/002.png", "002.png", "002"):
        assert torch.equal(code_named(fog(), train, name), fog().code_of(1))


def test_the_light_passes_evenly_from_one_photograph_to_the_next(photos):
    scene = scene_at(photos)
    lit = view(scene).in_lights(["001", "002", "001"], 5)
    camera = lit[0].cameras("still", 1)[0]
    colours = [one.picture(camera).colour[0, 0] / 255 for one in lit]
    dark, bright = fog().codes.detach().numpy()
    wanted = [dark, (dark + bright) / 2, bright, (dark + bright) / 2, dark]
    np.testing.assert_allclose(colours, wanted, atol=0.003)
    assert len(view(scene).in_lights(["002"], 7)) == 7
    assert len(view(scene).in_lights(["001", "002"], 1)) == 1


def test_a_still_flight_stands_where_the_first_held_out_view_was_taken(photos):
    scene = scene_at(photos)
    cameras = view(scene).cameras("still", 3)
    assert len(cameras) == 3
    held_out = scene.split("test")[0].camera
    assert all(torch.equal(camera.pose, held_out.pose) for camera in cameras)
    assert (cameras[0].width, cameras[0].height) == (held_out.width, held_out.height)


def test_a_light_that_nobody_knows_is_refused(photos, snapshot):
    scene = scene_at(photos)
    with pytest.raises(ConfigError) as refusal:
        view(scene).in_lights(["images/003.png"], 3)
    snapshot("unknown_light", str(refusal.value))
    field = fog()
    field.code_size = 0
    with pytest.raises(ConfigError) as refusal:
        view(scene, field).in_lights(["002"], 3)
    snapshot("one_light", str(refusal.value))
