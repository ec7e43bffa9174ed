"""How fast pictures come from files to tensors: ours against timm's own, on the same files.

    python benchmarks/image_pipeline.py [--data FOLDER] [--files 256] [--size 224] [--workers 2] [--pairs 7]

Both decode, take a random resized crop (bicubic), flip, RandAugment (rand-m9-mstd0.5-inc1), normalise and
erase (0.25, pixel). Without --data, photographs of 500 x 375 pixels are drawn and written as JPEG first.
`--workers` are threads that fill one batch with ours, and processes of torch's DataLoader with timm's, as its
users have them; 0 is a plain loop in one thread, with both.

The two take turns, so that a busy machine is busy for both; each turn goes once through the files in batches
of 64. The table has the median of `--pairs` turns, after one that is not timed, and the median of the ratios
of neighbouring turns. With one thread, seconds of the processor are given, too, which a neighbour on the
machine changes less. Ours is timed as it is, and with every JPEG decoded whole (`augment.spare` 0).
"""

import argparse
import datetime
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import beside_cpu_torch  # noqa: F401
from rayformer.core.seeds import generator
from rayformer.data.images.transforms import AugmentConfig, TrainTransform, load

BATCH = 64
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder of pictures, searched to the bottom")
    parser.add_argument("--files", type=int, default=256, help="pictures to take from it, or to draw")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=7, help="timed turns of each, after one that is not")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # workers are what runs side by side
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}, torch {torch.__version__}")
    given = f"--data {asked.data.name} " if asked.data else ""
    given += f"--files {asked.files} --size {asked.size} --workers {asked.workers} --pairs {asked.pairs}"
    print(f"Command: `python benchmarks/image_pipeline.py {given}`\n")
    with tempfile.TemporaryDirectory() as folder:
        files = found(asked.data, asked.files) if asked.data else drawn(Path(folder), asked.files)
        report(files, asked.size, asked.workers, asked.pairs)


def report(files: list[Path], size: int, workers: int, pairs: int) -> None:
    config = AugmentConfig(size=size)
    ways = {
        "ours": ours(files, config, workers),
        "ours, JPEGs decoded whole": ours(files, AugmentConfig(size=size, spare=0.0), workers),
        "timm": timms(files, size, workers),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    worked: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(pairs + 1):
        for name, way in ways.items():
            start, working = time.perf_counter(), time.process_time()
            way()
            if turn:
                taken[name].append(time.perf_counter() - start)
                worked[name].append(time.process_time() - working)
    print("| what | pictures/s | least ... most | ours / this | processor, ms/picture |")
    print("|---|---|---|---|---|")
    for name, seconds in taken.items():
        rates = sorted(len(files) / second for second in seconds)
        spread = f"{rates[0]:.0f} ... {rates[-1]:.0f}"
        ratio = statistics.median(theirs / mine for theirs, mine in zip(seconds, taken["ours"], strict=True))
        work = f"{1000 * statistics.median(worked[name]) / len(files):.2f}" if not workers else ""
        print(f"| {name} | {statistics.median(rates):.0f} | {spread} | {ratio:.2f} | {work} |")


def found(folder: Path, count: int) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(
            f"{folder} holds no pictures; give a folder with {', '.join(sorted(SUFFIXES))} in it."
        )
    return files[:: max(1, len(files) // count)][:count]


def drawn(folder: Path, count: int) -> list[Path]:
    """Noise at every scale, which compresses about as well as photographs do."""
    files = []
    for number in range(count):
        draw = np.random.default_rng(number)
        layers = np.full((375, 500, 3), 128.0)
        for cells in (3, 8, 20, 60, 180):
            noise = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), np.uint8))
            layers += (np.asarray(noise.resize((500, 375), Image.Resampling.BICUBIC)) - 128.0) / cells**0.5
        files.append(folder / f"{number}.jpg")
        Image.fromarray(layers.clip(0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def batches(files: list[Path]) -> Iterator[list[int]]:
    for first in range(0, len(files), BATCH):
        yield list(range(first, min(first + BATCH, len(files))))


def ours(files: list[Path], config: AugmentConfig, workers: int) -> Callable[[], None]:
    transform = TrainTransform(config)
    pool = ThreadPoolExecutor(workers) if workers else None

    def fill(place: torch.Tensor, number: int) -> None:
        load(files[number], transform, generator(0, "picture", number), out=place)

    def once() -> None:
        for numbers in batches(files):
            batch = torch.empty(len(numbers), 3, config.size, config.size)
            list((pool.map if pool else map)(fill, batch, numbers))

    return once


class Opened(torch.utils.data.Dataset):
    """Files as timm's own data set opens them."""

    def __init__(self, files: list[Path], transform: Callable):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        with open(self.files[number], "rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


def timms(files: list[Path], size: int, workers: int) -> Callable[[], None]:
    from timm.data import create_transform

    forgive_posterise()
    transform = create_transform(
        size,
        is_training=True,
        auto_augment="rand-m9-mstd0.5-inc1",
        interpolation="bicubic",
        re_prob=0.25,
        re_mode="pixel",
    )
    loader = torch.utils.data.DataLoader(
        Opened(files, transform), batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0
    )

    def once() -> None:
        for _ in loader:
            pass

    return once


def forgive_posterise() -> None:
    """timm asks for 0 bits at the highest magnitude, which Pillow refuses from 13 on."""
    from timm.data import auto_augment

    plain = auto_augment.ImageOps.posterize
    auto_augment.ImageOps.posterize = lambda picture, bits: plain(picture, max(1, bits))


if __name__ == "__main__":
    main()
