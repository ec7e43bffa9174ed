"""What bf16 costs in quality: NeRF on the drawn scene in float32 and in the chosen precision, all else equal.

    python benchmarks/nerf_precision.py [--steps 600] [--seeds 0 1]

Same seeds, so the same weights, rays and samples at the start; the same number of steps. Prints held-out
PSNR and SSIM of each, and the time that the training took.
"""

import argparse
import datetime
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from rayformer.claims.scenes import modest_nerf
from rayformer.engine.precision import choose_precision
from rayformer.recipes.open_run import train


def measure(precision: str, seed: int, steps: int, folder: Path) -> dict[str, float]:
    config = modest_nerf(smoke=False)
    config = replace(
        config,
        data=replace(config.data, width=64),
        plan=replace(config.plan, steps=steps, evaluate_every=0, save_every=0, precision=precision),
    )
    return train("nerf", config, out=folder / f"{precision}-{seed}", seed=seed).result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    asked = parser.parse_args()
    chosen = choose_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    rows = {"float32": "32", f"chosen: {chosen.name}": "auto"}
    with tempfile.TemporaryDirectory() as folder:
        results = {name: [] for name in rows}
        for seed in asked.seeds:  # in turns, so that a busy machine is busy for both
            for name, precision in rows.items():
                results[name].append(measure(precision, seed, asked.steps, Path(folder)))
    seeds = " ".join(map(str, asked.seeds))
    print(f"\n{datetime.date.today()}, {platform.machine()}, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}; {chosen.reason}")
    print(f"Command: `python benchmarks/nerf_precision.py --steps {asked.steps} --seeds {seeds}`\n")
    print("| precision | psnr_db, each seed | mean | ssim, mean | training, s |")
    print("|---|---|---|---|---|")
    for name, found in results.items():
        each = ", ".join(f"{result['psnr_db']:.2f}" for result in found)
        psnr, ssim, seconds = (
            mean(result[key] for result in found) for key in ("psnr_db", "ssim", "train_s")
        )
        print(f"| {name} | {each} | {psnr:.2f} | {ssim:.4f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
