"""`rayformer render`: a flight through a scene, in colour and in depth.

run         which flight, how large, where to
fly         every camera of the flight rendered once; colour and depth each into a video
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayformer.cli.abilities import open_able
from rayformer.cli.options import (
    Options,
    above_zero,
    add_device,
    add_json,
    at_least_one,
    picture_size,
)
from rayformer.cli.output import give, number_lines, progress, say
from rayformer.core.errors import ConfigError

if TYPE_CHECKING:
    from rayformer.geometry.cameras import Camera

FRAMES = 120
"""Four seconds at 30 frames per second."""


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "A flight through a scene, in colour and in depth.")
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    options.add_argument(
        "--path",
        metavar="orbit|spiral|along|test|still|FILE.json",
        help="round the scene, to and fro before it, down the street that the cameras went, through the "
        "held-out poses, standing still at the first of them, or a camera-path file (default: spiral where "
        "all photographs look one way, along for blocks of a street, else orbit)",
    )
    options.add_argument(
        "--frames",
        metavar="N",
        type=at_least_one,
        help="how many frames (default: 120; a camera-path file has its own)",
    )
    options.add_argument(
        "--fps",
        metavar="N",
        type=at_least_one,
        help="frames per second (default: 30, or those of the camera-path file)",
    )
    options.add_argument(
        "--size",
        metavar="WxH",
        type=picture_size,
        help="size in pixels (default: that of the camera-path file, or of the training views)",
    )
    options.add_argument(
        "--light",
        metavar="PHOTO",
        nargs="+",
        help="the light of a training photograph, by its name; of several, the flight passes from one to the "
        "next (default: the mean of all; for runs that learned the light of photographs)",
    )
    options.add_argument(
        "--exposure",
        metavar="X",
        type=above_zero,
        help="shutter time times gain of the pictures, in the data's units, for runs that learned exposures "
        "(default: the median of the photographs)",
    )
    options.add_argument(
        "--out",
        metavar="FILE.mp4|FOLDER",
        type=Path,
        help="a video, or a folder of PNGs, that is not there yet (default: RUN/render.mp4, made anew)",
    )
    add_device(options)
    add_json(options)
    values = options.read(words)
    colour = values.out or values.run / "render.mp4"
    if colour.suffix.lower() not in (".mp4", ""):
        raise ConfigError(f"--out must be FILE.mp4, or a folder for PNGs, but is {colour}")
    depth = colour.with_name(f"{colour.stem}_depth{colour.suffix}")
    if values.out:
        _refuse_what_is_there(colour, depth)

    loaded = open_able(values.run, "render", values.device)
    assert loaded.recipe.render, f"the index promises that {loaded.name} can render"
    view = loaded.recipe.render(loaded)
    if values.exposure is not None:
        view = view.at_exposure(values.exposure)
    path = values.path or view.usual_path
    cameras = view.cameras(path, values.frames or FRAMES, values.size)
    for text in _overruled(path, cameras, values.frames, values.size):
        say(f"- {text}")
    picture = _in_lights(view, values.light, len(cameras))
    fly(cameras, picture, colour, depth, values.fps or view.fps(path) or 30)
    give(
        {"video": colour, "depth": depth, "frames": len(cameras)},
        values.json,
        number_lines({"colour": colour, "depth": depth}),
    )
    return 0


def _refuse_what_is_there(colour: Path, depth: Path) -> None:
    """Raise ConfigError where --out names something that would be lost, or mixed with the new frames."""
    for path in (colour, depth):
        if path.is_dir() and path.suffix:
            raise ConfigError(f"--out {path} is a folder, but a name that ends in .mp4 is for a video.")
        if path.is_dir() and any(path.iterdir()):
            raise ConfigError(
                f"--out {colour}: {path}/ is not empty, and what it holds would mix with the new frames.\n"
                "Remove it, or give another --out."
            )
        if path.is_file():
            raise ConfigError(
                f"--out {colour}: {path} exists, and is not written over.\nRemove it, or give another --out."
            )


def _in_lights(view: Any, names: Sequence[str] | None, frames: int) -> Callable[["Camera"], Any]:
    """The picture of a camera; of each camera in its turn, where the light passes from one to the next."""
    if not names:
        return view.picture
    from rayformer.recipes.parts.scene_view import SceneView

    if not isinstance(view, SceneView):
        raise ConfigError("--light is for fields, and what this run trained is none.")
    lit = iter(view.in_lights(names, frames))
    return lambda camera: next(lit).picture(camera)


def _overruled(
    path: str, cameras: Sequence["Camera"], frames: int | None, size: tuple[int, int] | None
) -> Iterator[str]:
    """What was asked for and the camera-path file has otherwise, said so that nobody wonders."""
    width, height = cameras[0].width, cameras[0].height
    if size not in (None, (width, height)):
        yield f"--size is not used: {path} has a size of its own, {width}x{height}"
    if frames not in (None, len(cameras)):
        yield f"--frames is not used: {path} has {len(cameras)} frames of its own"


def fly(
    cameras: Sequence["Camera"],
    picture: Callable[["Camera"], Any],
    colour: Path,
    depth: Path,
    fps: int | float,
) -> None:
    """Render every camera once, into a video of colour and one of depth.

    Depth waits on disk until all is rendered: its colours need the nearest and the farthest of all frames,
    since with a scale for each frame they would flicker.
    """
    import numpy as np

    from rayformer.runs.pictures import depth_colours
    from rayformer.runs.video import write_video

    nearest, farthest = np.inf, -np.inf
    with tempfile.TemporaryDirectory() as waiting:
        depths = [Path(waiting) / f"{index}.npy" for index in range(len(cameras))]

        def colours() -> Iterator[Any]:
            nonlocal nearest, farthest
            for camera, path in zip(progress(cameras, len(cameras), "render"), depths, strict=True):
                rendering = picture(camera)
                there = rendering.depth[np.isfinite(rendering.depth)]
                if there.size:
                    nearest, farthest = min(nearest, there.min()), max(farthest, there.max())
                np.save(path, rendering.depth)
                yield rendering.colour

        write_video(colour, colours(), fps)
        near, far = (float(nearest), float(farthest)) if nearest < farthest else (0.0, 1.0)
        write_video(depth, (depth_colours(np.load(path), near, far) for path in depths), fps)
