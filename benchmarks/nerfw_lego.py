"""NeRF in the wild on NeRF's lego, harmed on purpose: the table of Martin-Brualla et al. 2021.

    python benchmarks/nerfw_lego.py --data NERF_LEGO [--minutes 3] [--trunk ngp|nerf] [--out FOLDER]

The cells are those of `rayformer reproduce in-the-wild`, which takes the drawn scene: Instant-NGP alone on
clean photographs, on photographs with changed colours, with occluders, and with both, and with what makes
each good (A, U, W). Every cell gets the same minutes. Held-out views are measured whole, in the light of the
first training photograph, which nobody harmed: the protocol of nerf_pl, whose numbers at 200 x 200 pixels are
beside ours, and the paper's at 800 x 800. With `--trunk nerf` the trunk is NeRF's 8 x 256 perceptron, for
which minutes on a processor are few: it shows the order at best.

A folder that holds some cells goes on with the others. The table goes to `nerfw_lego.md` in it.
"""

import argparse
import datetime
import os
import platform
from dataclasses import replace
from pathlib import Path

from rayformer.claims.claim import Claim
from rayformer.claims.in_the_wild import CLAIM, modest, rows
from rayformer.core.errors import UserError
from rayformer.data.scenes.scene import SceneConfig

NERF_PL = {
    "clean": 30.93,
    "colours": 23.17,
    "colours A": 28.20,
    "occluders": 21.94,
    "occluders U": 28.60,
    "both": 18.83,
    "both W": 24.86,
}
"""By its readme, at 200 x 200 pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of lego: transforms_train.json and so on")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, for every cell")
    parser.add_argument("--trunk", choices=["ngp", "nerf"], default="ngp")
    parser.add_argument("--width", type=int, default=200, help="of the photographs, in pixels")
    parser.add_argument("--test-views", type=int, default=10, help="measure so many, evenly spread")
    parser.add_argument("--out", type=Path, default=Path("runs/nerfw-lego"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args()
    if asked.data is None and "RAYFORMER_DATA" in os.environ:
        asked.data = Path(os.environ["RAYFORMER_DATA"]) / "nerf_lego"
    if asked.data is None or not (asked.data / "transforms_train.json").is_file():
        parser.error("--data must be the folder of lego, with transforms_train.json in it")
    outcome = lego(asked).reproduce(out=asked.out, seeds=asked.seeds)
    beside = "\n".join(f"| {name} | {number:.2f} |" for name, number in NERF_PL.items())
    text = (
        f"# NeRF in the wild on harmed lego\n\n{datetime.date.today()}, {platform.processor()}, "
        f"{os.cpu_count()} cores; {asked.minutes:g} minutes a cell, trunk {asked.trunk}, {asked.width} px, "
        f"{asked.test_views} held-out views.\n\n{outcome.table()}\n\nThe order of the paper "
        f"{'holds' if outcome.verdict.holds else 'does not hold'}: {outcome.verdict.reason}\n\n"
        f"nerf_pl at 200 px, by its readme:\n\n| | psnr_db |\n|---|---|\n{beside}\n"
    )
    (asked.out / "nerfw_lego.md").write_text(text)
    print(text)


def lego(asked: argparse.Namespace) -> Claim:
    """The claim of the drawn scene, put to lego."""
    data = SceneConfig(source=str(asked.data.resolve()), width=asked.width, background="random")
    base = modest(data, asked.minutes)
    base = replace(
        base,
        model=replace(base.model, trunk=asked.trunk),
        scene=replace(base.scene, test_views=asked.test_views),
    )
    return replace(CLAIM, cells=lambda smoke: rows(base))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
