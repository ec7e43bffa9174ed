"""nerfstudio's nerfacto on a processor, timed until held-out views are seen at 20 dB.

    PEER_VENV/bin/python benchmarks/peer_nerfacto.py --data FOLDER --variant default|reduced [--seconds 600]

`fox_time_to_20db.py` starts it. It runs under a python of its own, with nerfstudio 1.1.5 and torch; the
package is not imported. FOLDER holds a transforms.json in nerfstudio's form, with train_filenames and
val_filenames. What comes out is one line of JSON for every look at the held-out views: seconds of training
since the process was started, mean PSNR, steps.

    default   nerfacto as nerfstudio's method_configs.py has it, with implementation="torch": 4,096 rays; 256,
              96 and 48 samples; 16 levels of 2^19 rows; cameras learned; float32, which nerfstudio takes on
              processors
    reduced   what learned fastest of what was tried for a training of minutes on two cores: see `REDUCED`

Departures, in the peer's favour: rays are made in the process that trains, as a second process would take
one of two cores; of nerfstudio only what nerfacto needs is imported; no viewer, no log, no checkpoints.
Held-out rays see nerfacto's average appearance, as it has it.
"""

import argparse
import functools
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Variant:
    rays: int = 4096
    samples: tuple[int, ...] = (256, 96, 48)
    """Of each proposal network along a ray, and of the field."""
    levels: int = 16
    finest: int = 2048
    log2_rows: int = 19
    features: int = 2
    proposal_levels: int = 5
    proposal_log2_rows: int = 17
    rate: float = 1e-2
    init_density: float = 0.01
    anneal_steps: int = 1000
    """Over which the proposal networks learn to be trusted."""
    cameras: bool = True
    """Whether cameras are learned."""
    appearance: bool = True
    """Whether each photograph has an appearance of its own."""
    bf16: bool = False
    threads: int | None = None


DEFAULT = Variant()
REDUCED = Variant(
    rays=512,
    samples=(64, 32, 16),
    levels=8,
    features=4,
    finest=1024,
    log2_rows=15,
    proposal_log2_rows=13,
    rate=2e-2,
    init_density=1.0,
    anneal_steps=100,
    cameras=False,
    appearance=False,
)
"""Found on the fox, change after change, by processor time on one thread until 20 dB: about 24 s. Slower were
1,024 rays and 2,048, one proposal network, a rate of 1e-2 (twice as long), an initial density of 0.01. bf16
and tables of 2^16 rows made no difference."""
VARIANTS = {"default": DEFAULT, "reduced": REDUCED}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="reduced")
    parser.add_argument(
        "--change", nargs="*", default=[], metavar="NAME=VALUE", help="of the variant, to try it"
    )
    parser.add_argument("--since", type=float, help="when the process was started, by time.time()")
    parser.add_argument("--seconds", type=float, default=600, help="stop after so much training")
    parser.add_argument("--look", type=float, default=10, help="seconds of training between looks")
    parser.add_argument("--apart", type=int, default=9, help="of the lattice of held-out pixels")
    parser.add_argument("--target", type=float, default=20.0, help="dB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu-clock", action="store_true", help="count processor time, for a busy machine")
    asked = parser.parse_args()
    asked.since = asked.since or time.time()
    if asked.data is None:
        print("skipped: it is started by fox_time_to_20db.py, with --data")
        return
    variant = VARIANTS[asked.variant]
    for word in asked.change:
        name, _, value = word.partition("=")
        variant = replace(variant, **{name: json.loads(value)})
    run(variant, asked)


def run(variant: Variant, asked: argparse.Namespace) -> None:
    torch = ready_torch()
    if variant.threads:
        torch.set_num_threads(variant.threads)
    torch.manual_seed(asked.seed)
    pipeline, optimizers, callbacks, before, after = build(variant, asked.data)
    looking, last, view = 0.0, 0.0, None

    def clock() -> float:
        return time.process_time() if asked.cpu_clock else time.time() - asked.since

    for step in range(10**9):
        pipeline.train()
        for callback in callbacks:
            callback.run_callback_at_location(step, location=before)
        optimizers.zero_grad_all()
        with torch.autocast("cpu", torch.bfloat16, enabled=variant.bf16):
            _, losses, _ = pipeline.get_train_loss_dict(step=step)
            loss = functools.reduce(torch.add, losses.values())
        loss.backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)
        for callback in callbacks:
            callback.run_callback_at_location(step, location=after)
        seconds = clock() - looking
        over = seconds >= asked.seconds
        if seconds - last < asked.look and not over:
            continue
        last, began = seconds, clock()
        view = view or HeldOut(pipeline, asked.apart)
        psnr = view.psnr_db() if asked.seconds else float("nan")
        looking += clock() - began
        said = {"seconds": round(seconds, 2), "psnr_db": round(psnr, 3), "step": step + 1}
        print(json.dumps({**said, "looking_s": round(looking, 2)}), flush=True)
        if over or psnr >= asked.target:
            break
    print(json.dumps({key: value for key, value in vars(variant).items() if value is not None}), flush=True)


def ready_torch() -> Any:
    """torch, so that nerfstudio can be imported beside a build for processors."""
    import torch

    if torch.version.cuda is None:  # torchvision asks for these, which only its CUDA build brings
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.peer_library = library  # what is collected is taken back

    import torchmetrics.image.lpip

    class NoLpips(torch.nn.Module):
        """In the place of a network whose weights would be fetched, and which nobody asks here."""

        def __init__(self, **_: object):
            super().__init__()

    torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity = NoLpips
    return torch


def build(variant: Variant, data: Path) -> tuple[Any, ...]:
    """nerfstudio's pipeline with its optimisers, and what it calls before and after each step."""
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
    from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
    from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
    from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    *proposals, field = variant.samples
    finest = {1: [256], 2: [128, 256]}[len(proposals)]
    shape = {"hidden_dim": 16, "log2_hashmap_size": variant.proposal_log2_rows, "use_linear": False}
    pipeline = VanillaPipelineConfig(
        datamanager=VanillaDataManagerConfig(
            data=data,
            dataparser=NerfstudioDataParserConfig(),
            train_num_rays_per_batch=variant.rays,
            eval_num_rays_per_batch=variant.rays,
        ),
        model=NerfactoModelConfig(
            implementation="torch",
            eval_num_rays_per_chunk=1 << 15,
            average_init_density=variant.init_density,
            num_proposal_samples_per_ray=tuple(proposals),
            num_proposal_iterations=len(proposals),
            proposal_net_args_list=[
                {**shape, "num_levels": variant.proposal_levels, "max_res": size} for size in finest
            ],
            num_nerf_samples_per_ray=field,
            num_levels=variant.levels,
            max_res=variant.finest,
            log2_hashmap_size=variant.log2_rows,
            features_per_level=variant.features,
            proposal_weights_anneal_max_num_iters=variant.anneal_steps,
            use_appearance_embedding=variant.appearance,
            camera_optimizer=CameraOptimizerConfig(mode="SO3xR3" if variant.cameras else "off"),
        ),
    ).setup(device="cpu", test_mode="val", world_size=1, local_rank=0)

    def adam(rate: float, final: float, steps: int) -> dict[str, Any]:
        schedule = ExponentialDecaySchedulerConfig(lr_final=final, max_steps=steps)
        return {"optimizer": AdamOptimizerConfig(lr=rate, eps=1e-15), "scheduler": schedule}

    rates = {name: adam(variant.rate, 1e-4, 200_000) for name in ("proposal_networks", "fields")}
    rates["camera_opt"] = adam(1e-3, 1e-4, 5000)
    groups = pipeline.get_param_groups()
    optimizers = Optimizers({name: rates[name] for name in groups}, groups)
    about = TrainingCallbackAttributes(
        optimizers=optimizers, grad_scaler=None, pipeline=pipeline, trainer=None
    )
    where = TrainingCallbackLocation
    callbacks = pipeline.get_training_callbacks(about)
    return pipeline, optimizers, callbacks, where.BEFORE_TRAIN_ITERATION, where.AFTER_TRAIN_ITERATION


class HeldOut:
    """The middles of squares `apart` pixels wide, of every held-out view."""

    def __init__(self, pipeline: Any, apart: int):
        import torch

        self.model, dataset = pipeline.model, pipeline.datamanager.eval_dataset
        cameras = dataset.cameras
        coords = cameras.get_image_coords()
        self.views = []
        for row in range(len(dataset)):
            picture = dataset.get_image_float32(row)
            y, x = torch.meshgrid(
                *(torch.arange(apart // 2, size, apart) for size in picture.shape[:2]), indexing="ij"
            )
            y, x = y.flatten(), x.flatten()
            rays = cameras.generate_rays(torch.full((len(y), 1), row), coords=coords[y, x])
            self.views.append((rays, picture[y, x]))

    def psnr_db(self) -> float:
        """Mean over the views."""
        import torch

        self.model.eval()
        each = []
        with torch.no_grad():
            for rays, truth in self.views:
                parts = [
                    self.model(rays[start : start + 1024])["rgb"] for start in range(0, len(truth), 1024)
                ]
                error = (torch.cat(parts).clamp(0, 1) - truth).square().mean()
                each.append(-10 * error.log10().item())
        return sum(each) / len(each)


if __name__ == "__main__":
    sys.exit(main())
