"""How long until the fox is seen at 20 dB: Instant-NGP here, and nerfstudio's nerfacto on the same processor.

    python benchmarks/fox_time_to_20db.py --data NERF_FOX [--peer-python PEER_VENV/bin/python]

The data are the 50 photographs of instant-ngp's fox, at 270 x 480 pixels, every 8th by name held out from
the first on.

**What is timed.** Wall time from the start of the process (interpreter, imports, reading the photographs,
every step of training) until a look at the held-out views finds their mean PSNR at 20 dB or above. The
looks themselves do not count, on either side. Each side is started once before, for one step, so that its
files and compiled kernels wait in their caches.

**What is looked at.** The same pixels on both sides: of every held-out view, those of a lattice with
`--apart` pixels from one to the next (1,590 of 129,600 by default), as a whole picture takes nerfacto
minutes on a processor. PSNR is that of each view, then the mean. Ours is looked at after every second of
training, the peer after every `--peer-look` seconds; the table also has the last look below 20 dB, as the
truth lies between that one and the next. Where we get there, the whole pictures are measured, too.

**What trains.** Ours: `rayformer train ngp --data NERF_FOX --data.width 270`, through the package's own
loop, as anyone would run it (options of the recipe may follow ours). The peer: `peer_nerfacto.py`, once
with nerfacto's own settings and once made small enough to learn quickly here; each is stopped after
`--peer-seconds`. It gets the photographs ready-made in their size, pixel for pixel those that we make while
our clock runs.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

WIDTH, TARGET_DB = 270, 20.0
PEER = Path(__file__).parent / "peer_nerfacto.py"
OURS = "rayformer ngp"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of the fox: images/ and transforms.json")
    parser.add_argument("--peer-python", type=Path, help="the python that has nerfstudio; none: no peer")
    parser.add_argument("--peer-seconds", type=float, default=600, help="stop the peer after so long")
    parser.add_argument("--peer-look", type=float, default=10, help="seconds between looks at the peer")
    parser.add_argument("--variants", nargs="+", default=["default", "reduced"], help="of the peer")
    parser.add_argument("--seconds", type=float, default=600, help="stop ours after so long")
    parser.add_argument("--apart", type=int, default=9, help="of the lattice of held-out pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write every look as a line of JSON here, too")
    parser.add_argument("--ours-since", type=float, help=argparse.SUPPRESS)  # the part that is timed
    asked, words = parser.parse_known_args()
    if asked.data is None and "RAYFORMER_DATA" in os.environ:
        asked.data = Path(os.environ["RAYFORMER_DATA"]) / "nerf_fox"
    if asked.data is None or not (asked.data / "transforms.json").is_file():
        print(f"skipped: no fox at {asked.data}; name its folder with --data")
        return
    if asked.ours_since is not None:
        train_ours(asked, words)
        return
    if asked.out:
        asked.out.write_text("")
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_measured(asked, words, Path(folder)))
    report(asked, words, rows)


# ---------------------------------------------------------------------- both sides, in turn


@dataclass
class Row:
    system: str
    looks: list[dict] = field(default_factory=list)
    """Seconds of training and PSNR, in order."""
    about: dict = field(default_factory=dict)
    """What the system says of itself."""


def _measured(asked: argparse.Namespace, words: list[str], folder: Path) -> Iterator[Row]:
    ours = [sys.executable, __file__, "--data", str(asked.data), "--apart", str(asked.apart)]
    ours += ["--seed", str(asked.seed), *words, "--ours-since"]
    _follow("warming up ours", [*ours, str(time.time()), "--seconds", "0"], None)
    yield _follow(OURS, [*ours, str(time.time()), "--seconds", str(asked.seconds)], asked.out)
    if asked.peer_python is None:
        print("the peer is left out: name a python that has nerfstudio with --peer-python", file=sys.stderr)
        return
    write_for_peer(asked.data, folder)
    for variant in asked.variants:
        peer = [str(asked.peer_python), str(PEER), "--data", str(folder), "--variant", variant]
        peer += ["--apart", str(asked.apart), "--seed", str(asked.seed), "--target", str(TARGET_DB)]
        peer += ["--look", str(asked.peer_look), "--since"]
        _follow(f"warming up the peer, {variant}", [*peer, str(time.time()), "--seconds", "0"], None)
        command = [*peer, str(time.time()), "--seconds", str(asked.peer_seconds)]
        yield _follow(f"nerfacto, {variant}", command, asked.out)


def _follow(system: str, command: list[str], out: Path | None) -> Row:
    """Start one side, and gather what it says, line by line. It counts from a time that `command` holds."""
    row = Row(system)
    # As our command line does for itself (`share_the_cores`): a thread that waits for others sleeps soon.
    environment = {**os.environ, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None, "it was asked for"
        for line in process.stdout:
            if not line.startswith("{"):
                continue  # the peer's libraries chatter
            said = json.loads(line)
            if "psnr_db" in said:
                row.looks.append(said)
            else:
                row.about |= said
            print(f"{system}: {line.strip()}", file=sys.stderr)
            if out:
                with out.open("a") as file:
                    file.write(json.dumps({"system": system, **said}) + "\n")
    if process.returncode:
        raise SystemExit(f"{system} ended with status {process.returncode}")
    return row


def write_for_peer(data: Path, folder: Path) -> None:
    """The photographs at 270 x 480 as PNGs, the very bytes that we train on, with our split of them."""
    from PIL import Image

    from rayformer.data.scenes.pixels import load_view
    from rayformer.data.scenes.read import read_scene
    from rayformer.data.scenes.scene import SceneConfig

    scene = read_scene(SceneConfig(source=str(data), width=WIDTH))
    frames, names = [], {"train": [], "val": [], "test": []}
    for view in scene.views:
        name = f"images/{Path(view.name).stem}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(load_view(view)[0]).save(folder / name)
        camera, lens = view.original.scaled(view.camera.width, view.camera.height), view.original.lens
        frame = {"file_path": name, "transform_matrix": camera.pose.tolist()}
        frame |= {"w": camera.width, "h": camera.height, "fl_x": camera.fx, "fl_y": camera.fy}
        frame |= {"cx": camera.cx, "cy": camera.cy}
        frames.append(frame | {term: getattr(lens, term) for term in ("k1", "k2", "k3", "p1", "p2")})
        names[view.split].append(name)
    names["val"] = names["test"]
    splits = {f"{split}_filenames": listed for split, listed in names.items()}
    whole = {"camera_model": "OPENCV", "frames": frames, **splits}
    (folder / "transforms.json").write_text(json.dumps(whole))


# ---------------------------------------------------------------------- our side


def train_ours(asked: argparse.Namespace, words: list[str]) -> None:
    """The part that is timed: the recipe as the command line would train it, until it is over."""
    from rayformer.cli.recipe_options import configure
    from rayformer.core.config import to_plain
    from rayformer.engine.fit import fit
    from rayformer.engine.launch import Launch, pick_device
    from rayformer.engine.task import Setting
    from rayformer.recipes import index
    from rayformer.runs.run import Run

    recipe, device = index.load("ngp"), pick_device("cpu")
    # Looked at from outside, and nothing to go on with afterwards.
    usual = f"--data.width {WIDTH} --plan.evaluate-every 0 --plan.save-every 0".split()
    words = ["--data", str(asked.data.resolve()), *usual, *words]
    config = configure(recipe.default, words, "fox_time_to_20db.py")
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", "ngp", {"config": to_plain(config), "seed": asked.seed})
        chain = recipe.build(config, Setting(seed=asked.seed, device=device, assets=run.assets))
        (stage,) = chain.stages
        task = stage.task({})
        try:
            fit(stage, task, run, asked.seed, Launch(device), Looks(task, asked))
        except Over:
            return


class Over(Exception):
    """Nothing more to see."""


class Looks:
    """An onlooker that measures the lattice of held-out pixels once a second, and leaves at the target."""

    def __init__(self, task, asked: argparse.Namespace):
        self.asked, self.looking, self.last = asked, 0.0, 0.0
        self.views = None
        self.task = task

    def seconds(self) -> float:
        """Since the process was started, without the looks."""
        return time.time() - self.asked.ours_since - self.looking

    def wants(self, task, step: int) -> bool:
        seconds = self.seconds()
        return seconds - self.last >= 1 or seconds >= self.asked.seconds

    def look(self, task, step: int) -> None:
        self.last, began = self.seconds(), time.time()
        psnr = self._psnr_db()
        said = {"seconds": round(self.last, 2), "psnr_db": round(psnr, 3), "step": step}
        whole = {}
        if psnr >= TARGET_DB:
            from rayformer.core.seeds import generator

            numbers = task.evaluate("test", generator(self.asked.seed, "whole pictures"))
            whole["whole_psnr_db"] = round(numbers["psnr_db"], 3)
        self.looking += time.time() - began
        print(json.dumps({**said, **whole, "looking_s": round(self.looking, 2)}), flush=True)
        if psnr >= TARGET_DB or self.last >= self.asked.seconds:
            raise Over

    def _psnr_db(self) -> float:
        """The mean over held-out views."""
        import torch

        from rayformer.data.scenes.pixels import PixelStore

        if self.views is None:
            store = PixelStore(self.task.scene, "test")
            index = torch.stack([lattice(store, row, self.asked.apart) for row in range(len(store.views))])
            rays, colours, _ = store.rays(index.flatten())
            self.views = rays, colours, len(index)
        rays, colours, count = self.views
        field, at_once = self.task.field, max(1, 2**15 // self.task.field.samples_per_ray)
        behind, seen = torch.tensor([self.task.window.background]), []
        for start in range(0, len(rays), at_once):
            some = rays[start : start + at_once]
            seen.append(field.render(some, behind.expand(len(some), 3)).colour.clamp(0, 1))
        error = (torch.cat(seen) - colours).square().view(count, -1).mean(dim=1)
        return (-10 * error.log10()).mean().item()


def lattice(store, row: int, apart: int):
    """Numbers of the pixels of one view that are looked at: the middles of squares `apart` pixels wide."""
    import torch

    camera = store.views[row].camera
    y, x = torch.arange(apart // 2, camera.height, apart), torch.arange(apart // 2, camera.width, apart)
    return int(store.starts[row]) + (y[:, None] * camera.width + x).flatten()


# ---------------------------------------------------------------------- what came of it


def report(asked: argparse.Namespace, words: list[str], rows: list[Row]) -> None:
    import torch

    from nerf_step import processor

    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{datetime.date.today()}, {processor()}, {threads}")
    peer = f"--peer-python PEER --peer-seconds {asked.peer_seconds:g} " if asked.peer_python else ""
    given = " ".join([f"{peer}--apart {asked.apart} --seed {asked.seed}", *words])
    print(f"Command: `python benchmarks/fox_time_to_20db.py --data NERF_FOX {given}`\n")
    print(f"| system | {TARGET_DB:g} dB after, s | last look below | steps | then or at the end | / ours |")
    print("|---|---|---|---|---|---|")
    ours = _reached(rows[0])
    for row in rows:
        reached, below = _reached(row), [look for look in row.looks if look["psnr_db"] < TARGET_DB]
        last = row.looks[-1]
        when = f"{reached['seconds']:.1f}" if reached else f"not in {last['seconds']:.0f}"
        before = f"{below[-1]['psnr_db']:.2f} dB at {below[-1]['seconds']:.1f} s" if below else "none"
        best = max(look["psnr_db"] for look in row.looks)
        said = f"{last['psnr_db']:.2f} dB" + (f" (best {best:.2f})" if best > last["psnr_db"] else "")
        if "whole_psnr_db" in last:
            said += f", whole pictures {last['whole_psnr_db']:.2f}"
        ratio = "" if ours is None else f"{'' if reached else '> '}{last['seconds'] / ours['seconds']:.1f}"
        print(f"| {row.system} | {when} | {before} | {last['step']} | {said} | {ratio} |")
    for row in rows:
        if row.about:
            print(f"\n{row.system}: {', '.join(f'{key} {value}' for key, value in row.about.items())}.")


def _reached(row: Row) -> dict | None:
    return next((look for look in row.looks if look["psnr_db"] >= TARGET_DB), None)


if __name__ == "__main__":
    main()
