"""What training and rendering hold in memory, and what it grows with.

    python benchmarks/nerf_memory.py

Each row is a process of its own: a few steps of NeRF on so many drawn photographs, or one picture of so
many pixels, and the most memory the process ever held. Training should grow by the stored bytes of the
photographs alone, rendering by the bytes of the picture.
"""

import datetime
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

TRAIN = """
import sys
from pathlib import Path
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.fit import peak_memory_gib
from rayformer.engine.plan import Plan
from rayformer.recipes.nerf import NeRFRecipe
from rayformer.recipes.parts.scene import PixelStore, SceneTraining
from rayformer.data.scenes.read import read_scene
from rayformer.recipes.open_run import train
source, out = sys.argv[1:]
data = SceneConfig(source=source)
plan = Plan(steps=3, log_every=1, evaluate_every=0, save_every=0)
training = SceneTraining(rays=256, test_views=1, shown_views=1)
run = train("nerf", NeRFRecipe(data=data, scene=training, plan=plan), out=Path(out), device="cpu").run
scene = read_scene(data)
stored = PixelStore(scene, "train").nbytes / 2**20
print(len(scene.split("train")), stored, run.metrics()[-1]["peak_memory_gib"] * 1024)
"""
RENDER = """
import sys, torch
from rayformer.data.scenes.scene import Scene
from rayformer.engine.fit import peak_memory_gib
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.geometry.cameras import Camera
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.scene_view import Window, render_camera
width, height = map(int, sys.argv[1:])
scene = Scene("", "", (), None, None, Similarity.identity(), None, 1.0, 2.0, False, (), "")
field = NeRF(NeRFConfig(width=32, depth=2, skip_after=None, coarse_samples=16, fine_samples=16))
camera = Camera(width, height, 500.0, 500.0, width / 2, height / 2, torch.eye(4).double())
render_camera(field, camera, Window(scene), torch.device("cpu"))
print(width * height * 7 / 2**20, peak_memory_gib(torch.device("cpu")) * 1024)
"""


def numbers(program: str, *words: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    from rayformer.data.scenes.still_life import draw_still_life

    print(
        f"{datetime.date.today()}, torch {torch.__version__}. Command: `python benchmarks/nerf_memory.py`\n"
    )
    print("| training photographs of 200 x 200 | their bytes, MiB | peak, MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in (15, 60):
            scene = Path(folder) / str(count)
            scene.mkdir()
            draw_still_life(scene, size=200, train=count, val=3, test=3)
            views, stored, peak = numbers(TRAIN, scene, Path(folder) / f"run{count}")
            print(f"| {views:.0f} | {stored:.1f} | {peak:.0f} |", flush=True)
    print("\n| rendered picture | its bytes, MiB | peak, MiB |\n|---|---|---|")
    for width, height in ((320, 240), (1280, 960)):
        picture, peak = numbers(RENDER, width, height)
        print(f"| {width} x {height} | {picture:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
