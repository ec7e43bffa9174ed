"""A real browser: the page opens, a picture arrives, and it changes when the camera moves."""

import io
import os
import shutil
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.similarity import Similarity
from rayformer.runs.run import Run
from rayformer.viewer.address import claim
from rayformer.viewer.desk import Style
from rayformer.viewer.show import Drawn, Photo, Show

pytest.importorskip("viser", reason="the extra view is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = """
    --headless --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader
    --disable-background-networking --disable-component-update --disable-sync --no-first-run
""".split()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is at hand (set CHROMIUM to its path)"),
]

RED, GREEN = (220, 30, 30), (30, 160, 60)


def ball(camera: Camera, style: Style) -> Drawn:
    """A ball of radius 1 at the origin: red where x > 0, green elsewhere; over grey."""
    from rayformer.geometry.rays import camera_rays

    rays = camera_rays(camera)
    along = (rays.origins * rays.directions).sum(-1)
    root = along**2 - (rays.origins**2).sum(-1) + 1
    distance = -along - root.clamp(min=0).sqrt()
    points = rays.origins + distance[:, None] * rays.directions
    colour = torch.where(points[:, :1] > 0, torch.tensor([RED]), torch.tensor([GREEN]))
    hit = (root > 0)[:, None]
    colour = torch.where(hit, colour, torch.tensor([[90, 90, 90]])).byte()
    depth = -((points - camera.position.float()) @ camera.pose[:3, 2].float()) * -1
    depth = torch.where(hit[:, 0], depth.abs(), torch.nan)
    shape = (camera.height, camera.width)
    return Drawn(colour.view(*shape, 3).numpy(), depth.view(shape).numpy())


def show() -> Show:
    poses = [look_at([4 * np.sin(angle), -4 * np.cos(angle), 1.0], [0, 0, 0]) for angle in (0.5, 2.5, 4.5)]
    cameras = [Camera.from_fov(64, 64, 40.0, pose) for pose in poses]
    return Show(
        title="ball",
        draw=ball,
        photos=[
            Photo(str(n), camera, lambda c=camera: ball(c, Style()).colour)
            for n, camera in enumerate(cameras)
        ],
        photos_in_all=3,
        points=lambda: None,
        start=Camera.from_fov(64, 64, 40.0, look_at([0.0, -5.0, 0.5], [0, 0, 0])),
        centre=torch.zeros(3),
        up=torch.tensor([0.0, 0.0, 1.0]),
        near=1.0,
        far=9.0,
        has_range=True,
        unit=2.0,
        normalisation=Similarity.identity(),
    )


@pytest.fixture
def window(tmp_path) -> Iterator:
    """A window on the ball, drawn by a thread."""
    from rayformer.viewer.window import BrowserWindow

    run = Run.create(tmp_path / "run", "nerf", {})
    closing = threading.Event()
    with BrowserWindow(show(), run, claim("127.0.0.1", None)) as window:

        def work() -> None:
            while not closing.is_set():
                window.work(0.1)

        drawing = threading.Thread(target=work)
        drawing.start()
        try:
            yield window
        finally:
            closing.set()
            drawing.join()


@pytest.fixture
def page(window, tmp_path) -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=SWITCHES,
            viewport={"width": 900, "height": 600},
        )
        page = browser.new_page()
        page.goto(window.address.url)
        yield page
        browser.close()


def pixels(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture - colour).max(axis=-1) < 25).mean())


def until(page, true, seconds: float = 40.0) -> np.ndarray:
    """The first screenshot of which `true` holds."""
    end = time.monotonic() + seconds
    while not true(picture := pixels(page)):
        assert time.monotonic() < end, "the picture that was waited for never came"
        time.sleep(0.3)
    return picture


def test_a_picture_arrives_the_right_way_round_and_dragging_turns_it(page):
    first = until(page, lambda picture: share(picture, RED) > 0.02 and share(picture, GREEN) > 0.02)
    x = {colour: np.nonzero(np.abs(first - colour).max(axis=-1) < 25)[1].mean() for colour in (RED, GREEN)}
    assert x[RED] > x[GREEN]  # seen from -y with z up, x points to the right
    page.mouse.move(300, 450)
    page.mouse.down()
    for step in range(12):
        page.mouse.move(300 + 15 * step, 450)
    page.mouse.up()
    until(page, lambda picture: abs(share(picture, RED) - share(first, RED)) > 0.02)


def test_a_flight_and_a_snapshot_are_kept_in_the_run(page, window):
    until(page, lambda picture: share(picture, RED) > 0.02)
    page.get_by_text("Flight").click()
    page.get_by_text("Add keyframe here").click()
    page.get_by_text("Save for rayformer render").click()
    page.get_by_text("Take a snapshot").click()
    folder, end = window.run.path, time.monotonic() + 40
    wanted = [folder / "paths" / "flight.json", folder / "pictures" / "snapshots" / "0001.png"]
    while not all(path.exists() for path in wanted) and time.monotonic() < end:
        page.wait_for_timeout(300)
    with Image.open(wanted[1]) as picture:
        assert picture.height == 480
    from rayformer.geometry.paths import keyframes

    (camera,) = keyframes(wanted[0], (64, 48)).cameras
    torch.testing.assert_close(camera.pose, window.show.start.pose, atol=1e-4, rtol=0)
    assert camera.fov_y_degrees == pytest.approx(40.0, abs=0.01)
