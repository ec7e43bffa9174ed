"""The Block-NeRF recipe from end to end: blocks are laid along the street, trained apart, aligned, merged,
added to, and refused where they cannot be."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import rayformer
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.blocknerf import BlockConfig, LitStreet, Street, StreetConfig
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.geometry.poses import look_at
from rayformer.recipes.blocknerf import RECIPE, BlockNeRFRecipe, groups
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.recipes.parts.street_plan import BlocksConfig, block_scene, plan_street, positions
from rayformer.runs.run import Run

TINY = BlockNeRFRecipe(
    data=SceneConfig(source="town-1", width=16),
    blocks=BlocksConfig(count=2),
    model=NGPConfig(
        grid=HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=9),
        occupancy=OccupancyConfig(cells=16, asked=1024, every=4),
        density_width=16,
        places=8,
        colour_width=16,
        steps_across=32,
    ),
    block=BlockConfig(code=4, visibility_width=16, visibility_depth=2),
    street=StreetConfig(align_steps=4, align_rays=64),
    scene=SceneTraining(
        rays=64, samples=1024, samples_at_once=4096, ndc="off",
        test_views=2, shown_views=1, validation_rays=64,
    ),
    plan=Plan(
        steps=8,
        optim=Optim(rate=2e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.05),
        log_every=1,
        evaluate_every=4,
        save_every=4,
        precision="32",
    ),
)  # fmt: skip
WORDS = """
    --data.source town-1 --data.width 16 --blocks.count 3 --model.grid.levels 3 --model.grid.features 2
    --model.grid.coarsest 8 --model.grid.finest 32 --model.grid.log2-rows 9 --model.occupancy.cells 16
    --model.occupancy.asked 1024 --model.occupancy.every 4 --model.density-width 16 --model.places 8
    --model.colour-width 16 --model.steps-across 32 --block.code 4 --block.visibility-width 16
    --block.visibility-depth 2 --street.align-steps 4 --street.align-rays 64 --blocks.least-views 3
    --scene.rays 64 --scene.samples 1024 --scene.samples-at-once 4096 --scene.test-views 2
    --scene.shown-views 1 --scene.validation-rays 64 --plan.minutes none --plan.steps 6 --plan.log-every 1
    --plan.evaluate-every 0 --plan.save-every 3 --plan.precision 32 --device cpu
""".split()


@pytest.fixture(scope="module")
def scene():
    return read_scene(TINY.data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return train("blocknerf", TINY, out=tmp_path_factory.mktemp("street") / "run", device="cpu").run


def bits(run: Run, name: str) -> dict[str, bytes]:
    """The weights of a block's newest checkpoint, tensor by tensor: in its file their order is by chance."""
    weights = read_checkpoint(run.stage(name))[0].tensors["model"]
    return {tensor: value.numpy().tobytes() for tensor, value in weights.items()}


# ---------------------------------------------------------------- from end to end


@pytest.mark.slow
def test_the_smoke_size_learns_the_town_and_alignment_closes_its_seam(tmp_path):
    result = train("blocknerf", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True).result
    assert result["psnr_db"] > 16.5
    assert result["psnr_db"] > result["nearest_psnr_db"] - 0.3
    assert result["seam_error"] < 0.75 * result["unaligned_seam_error"]


def test_a_run_holds_a_stage_for_each_block_and_one_result_of_the_whole(trained):
    assert [name for name, _ in trained.stages()] == ["block-00", "block-01"]
    result = trained.result()
    assert next(iter(result)) == "psnr_db", "the whole comes first"
    assert {
        "ssim",
        "nearest_psnr_db",
        "seam_error",
        "unaligned_seam_error",
        "block-01/psnr_db",
    } <= result.keys()
    assert {name.split("/")[0] for name, *_ in trained.pictures()} == {"held-out", "seams"}


def test_eval_gives_the_same_numbers_and_load_the_street(trained):
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}
    model = rayformer.load(trained.path)
    assert isinstance(model, Street)
    stored = read_checkpoint(trained.stage("block-01"))[0].tensors["model"]
    worn = model.block(1).state_dict()
    assert all(torch.equal(worn[name], value) for name, value in stored.items())


def test_a_finished_run_is_opened_without_its_photographs(trained, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a photograph was read")

    monkeypatch.setattr("rayformer.recipes.parts.field_space.load_view", refuse)
    monkeypatch.setattr("rayformer.recipes.parts.scene.read_scene", refuse)
    loaded = open_run(trained.path, "cpu")
    view = loaded.recipe.render(loaded)
    assert view.usual_path == "along"
    frames = [view.picture(camera).colour for camera in view.cameras("along", 3, (12, 8))]
    assert {frame.shape for frame in frames} == {(8, 12, 3)}
    one = open_run(trained.path / "stages" / "block-01", "cpu")
    assert list(one.tasks) == ["block-01"]
    assert one.recipe.render(one).picture(view.cameras("along", 3, (12, 8))[2]).colour.shape == (8, 12, 3)


def test_pictures_change_with_the_light_and_the_exposure_that_are_asked_for(trained):
    loaded = open_run(trained.path, "cpu")
    view = loaded.recipe.render(loaded)
    camera = view.cameras("along", 3, (12, 8))[1]
    morning, evening = (
        view.in_lights([name], 1)[0].picture(camera).colour for name in ("morning", "evening")
    )
    assert (morning != evening).any()
    photograph = next(taken.name for taken in loaded.whole.scene.split("train") if taken.light == "evening")
    assert np.array_equal(view.in_lights([photograph], 1)[0].picture(camera).colour, evening)
    assert (
        view.at_exposure(0.3).picture(camera).colour != view.at_exposure(2.0).picture(camera).colour
    ).any()


# ---------------------------------------------------------------- alignment


def test_a_code_that_was_changed_on_purpose_is_found_again_by_its_pictures(trained):
    """A street of the same block twice: what alignment has to find is known."""
    loaded = open_run(trained.path, "cpu")
    task = loaded.whole
    with torch.no_grad():
        for mine, other in zip(
            task.model.block(0).parameters(), task.model.block(1).parameters(), strict=True
        ):
            mine.copy_(other)
        task.model.block(0).trunk.space = task.model.block(1).trunk.space
        task.model.block(0).visibility.space = task.model.block(1).visibility.space
        for name, value in task.model.block(1).trunk.named_buffers():
            dict(task.model.block(0).trunk.named_buffers())[name].copy_(value)
        for made in (task.model.block(0), task.model.block(1)):
            for layer in made.trunk.field.to_colour:
                if hasattr(layer, "weight"):
                    layer.weight *= 2  # a street of a few steps is told little by its codes
    task.config = replace(task.config, align_steps=150, align_rays=256)
    wanted = task.model.block(1).code_named("morning").detach()
    rays, _ = task.overlap(1, 0, wanted)
    assert len(rays), "both blocks have seen something in common"
    black = torch.zeros(len(rays), 3)
    shown = task.model.block(1).in_light(wanted).render(rays, black).colour
    start = task.model.block(0).code_named("evening").detach() + 1.0
    found = task._moved(0, start, rays, shown)
    before, after = (
        (task.model.block(0).in_light(code).render(rays, black).colour - shown).abs().mean()
        for code in (start, found)
    )
    assert after < 0.2 * before


def test_alignment_is_the_same_every_time_and_kept_until_the_weights_change(trained, monkeypatch):
    first = open_run(trained.path, "cpu").whole
    kept = first.aligned("morning")
    (first.assets / "aligned.json").unlink()
    assert all(torch.equal(a, b) for a, b in zip(first.aligned("morning"), kept, strict=True))
    again = open_run(trained.path, "cpu").whole
    monkeypatch.setattr(type(again), "_align", lambda self, light: pytest.fail("aligned twice"))
    again.aligned("morning")
    with torch.no_grad():
        again.model.block(0).codes.code += 1
    with pytest.raises(pytest.fail.Exception, match="aligned twice"):
        again.aligned("morning")


def test_the_root_keeps_its_own_light(trained):
    task = open_run(trained.path, "cpu").whole
    for light in ("morning", "evening"):
        root = task.root_of(light)
        assert torch.equal(task.aligned(light)[root], task.model.block(root).code_named(light))


# ---------------------------------------------------------------- the plan of a street


def test_every_training_photograph_is_in_a_block_and_the_blocks_overlap(scene):
    plan, _ = plan_street(scene, BlocksConfig(count=3, least_views=3), BlockConfig())
    names = {view.name for view in scene.split("train")}
    assert set().union(*(block.views for block in plan.blocks)) == names
    for one, other in zip(plan.blocks, plan.blocks[1:], strict=False):
        assert set(one.views) & set(other.views)


def test_a_block_sees_what_was_taken_within_its_radius(scene):
    plan, _ = plan_street(scene, BlocksConfig(count=3, least_views=3), BlockConfig())
    for block in plan.blocks:
        here = block_scene(scene, block.site)
        assert tuple(view.name for view in here.split("train")) == block.views
        assert (block.site.distances(positions(here.views)) <= block.site.radius).all()


def test_codes_are_of_lights_where_the_data_name_them_and_of_photographs_elsewhere(scene):
    nameless = replace(scene, views=tuple(replace(view, light=None, exposure=None) for view in scene.views))
    by_light, _ = plan_street(scene, BlocksConfig(count=2), BlockConfig())
    by_photo, _ = plan_street(nameless, BlocksConfig(count=2), BlockConfig())
    none, _ = plan_street(scene, BlocksConfig(count=2), BlockConfig(codes="off"))
    assert by_light.blocks[0].photographed.names == ("evening", "morning")
    assert by_photo.blocks[0].photographed.names == tuple(sorted(by_photo.blocks[0].views))
    assert none.blocks[0].photographed.names == ()
    assert by_photo.unit is None
    assert by_photo.blocks[0].photographed.exposures == ()
    assert max(max(block.photographed.exposures) for block in by_light.blocks) == 1.0
    assert len({block.photographed.usual for block in by_light.blocks}) == 1, "one for the whole street"


def test_spacing_counts_in_the_data_s_own_units(scene):
    plan, _ = plan_street(scene, BlocksConfig(count=4, least_views=3), BlockConfig())
    apart = (plan.blocks[1].site.along - plan.blocks[0].site.along) / scene.normalisation.scale
    again, _ = plan_street(scene, BlocksConfig(spacing=apart, least_views=3), BlockConfig())
    assert len(again.blocks) == 4


def test_codes_are_neither_decayed_nor_taken_for_a_table():
    tables, networks, codes = groups(
        ["trunk.field.grid.table", "trunk.field.to_place.0.weight", "codes.code"]
    )
    assert tables.parameters == ("trunk.field.grid.table",)
    assert (codes.parameters, codes.decay, codes.sparse) == (("codes.code",), 0.0, False)
    assert networks.parameters == ("trunk.field.to_place.0.weight",)


# ---------------------------------------------------------------- adding blocks, several processes, kills


def test_a_block_added_later_leaves_the_others_bit_for_bit(tmp_path):
    some = replace(TINY, blocks=BlocksConfig(count=3, least_views=3, only=(0, 1)))
    run = train("blocknerf", some, out=tmp_path / "run", device="cpu").run
    assert [name for name, _ in run.stages()] == ["block-00", "block-01"]
    before, measured = {name: bits(run, name) for name, _ in run.stages()}, run.result()["seam_error"]
    more = replace(some, blocks=replace(some.blocks, only=(0, 1, 2)))
    result = train("blocknerf", more, resume=run.path, device="cpu").result
    assert [name for name, _ in run.stages()] == ["block-00", "block-01", "block-02"]
    assert {name: bits(run, name) for name in before} == before
    assert result["block-02/steps"] == TINY.plan.steps
    assert result["seam_error"] != measured, "the street is measured anew"
    whole = train(
        "blocknerf", replace(more, blocks=replace(some.blocks, only=())), out=tmp_path / "all", device="cpu"
    ).run
    assert bits(whole, "block-02") == bits(run, "block-02"), "as if it had been there from the beginning"


def test_only_may_be_changed_by_a_resume_and_the_number_of_blocks_may_not(trained):
    from rayformer.cli.train import read_job

    job = read_job(
        ["--resume", str(trained.path), "--blocks.only", "0", "--street.power", "2"], "rayformer train"
    )
    assert (job.config.blocks.only, job.config.street.power) == ((0,), 2.0)
    with pytest.raises(ConfigError, match=r"--blocks\.count cannot be given with --resume"):
        read_job(["--resume", str(trained.path), "--blocks.count", "5"], "rayformer train")


def command(*words: str, processes: int = 0, kill_at: str = "") -> subprocess.CompletedProcess:
    """`rayformer WORDS` in processes of its own; dies, without a word, when block `kill_at` logs its first
    step."""
    watch = (
        "import os, signal, sys\n"
        "from rayformer.runs.run import Run\n"
        "log = Run.log\n"
        "def logged(self, step, **numbers):\n"
        f"    if self.name == {kill_at!r}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    log(self, step, **numbers)\n"
        "Run.log = logged\n"
        "from rayformer.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    alone = ["-c", watch]
    launch = f"-m torch.distributed.run --standalone --nproc-per-node {processes} -m rayformer".split()
    return subprocess.run(
        [sys.executable, *(launch if processes else alone), *words],
        capture_output=True, text=True, timeout=400, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """Three blocks by one process that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    done = command("train", "blocknerf", *WORDS, "--out", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    return Run.open(path)


THREE = ("block-00", "block-01", "block-02")


@pytest.mark.slow
def test_two_processes_train_the_blocks_to_the_bits_of_one(whole, tmp_path):
    done = command("train", "blocknerf", *WORDS, "--out", str(tmp_path / "two"), processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    two = Run.open(tmp_path / "two")
    assert [bits(two, name) for name in THREE] == [bits(whole, name) for name in THREE]
    assert two.result()["psnr_db"] == whole.result()["psnr_db"]


@pytest.mark.slow
def test_a_killed_process_loses_no_finished_block_and_a_resume_trains_the_rest_to_the_same_bits(
    whole, tmp_path
):
    done = command("train", "blocknerf", *WORDS, "--out", str(tmp_path / "one"), kill_at="block-01")
    assert done.returncode == -signal.SIGKILL, done.stderr
    one = Run.open(tmp_path / "one")
    assert one.stage("block-00").result()
    done = command("train", "--resume", str(one.path), "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    assert "block-00 is finished already" in done.stderr
    assert [bits(one, name) for name in THREE] == [bits(whole, name) for name in THREE]
    assert json.loads(done.stdout)["result"]["psnr_db"] == whole.result()["psnr_db"]


# ---------------------------------------------------------------- refusals and remarks


def test_a_path_that_is_one_place_is_refused_in_words(scene, snapshot):
    place = scene.views[0].camera.position
    views = []
    for view in scene.views:
        pose = view.camera.pose.clone()
        pose[:3, 3] = place
        views.append(replace(view, camera=view.camera.at(pose)))
    standing = replace(scene, views=tuple(views), source="panorama")
    with pytest.raises(DataError) as refusal:
        plan_street(standing, BlocksConfig(), BlockConfig())
    snapshot("one_place", str(refusal.value))


def test_cameras_that_turn_in_one_place_reach_that_refusal(tmp_path):
    """Reading and arranging such data must not divide by the nothing between them."""
    frames = []
    for turn in range(8):
        pose = look_at((3.0, 1.0, 2.0), (3.0 + np.cos(turn), 1.0 + np.sin(turn), 2.0))
        Image.fromarray(np.full((8, 12, 3), 9 * turn, np.uint8)).save(tmp_path / f"{turn}.png")
        frames.append({"file_path": f"{turn}.png", "transform_matrix": pose.tolist()})
    lens = {"w": 12, "h": 8, "fl_x": 10.0, "fl_y": 10.0}
    (tmp_path / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    config = replace(TINY, data=SceneConfig(source=str(tmp_path)))
    with pytest.raises(DataError, match="were taken in one place"):
        train("blocknerf", config, out=tmp_path / "run", device="cpu")


def test_blocks_with_too_few_views_are_merged_and_said(scene, snapshot):
    plan, remarks = plan_street(scene, BlocksConfig(count=6, least_views=30), BlockConfig())
    assert len(plan.blocks) < 6
    assert all(len(block.views) >= 30 for block in plan.blocks) or len(plan.blocks) == 1
    snapshot("merged_blocks", "\n".join(remarks))


def test_a_street_with_a_block_missing_names_it_and_how_to_train_it(trained, snapshot):
    import shutil

    folder = trained.path.parent / "broken"
    shutil.copytree(trained.path, folder)
    shutil.rmtree(folder / "stages" / "block-01")
    with pytest.raises(RunError) as refusal:
        open_run(folder, "cpu")
    snapshot("missing_block", str(refusal.value).replace(str(folder), "RUN"))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_blocks": {"count": 0},
        "count_and_spacing": {"count": 2, "spacing": 3.0},
        "no_spacing": {"spacing": 0.0},
        "all_overlap": {"overlap": 1.0},
        "too_few_for_anything": {"least_views": 1},
        "negative_block": {"only": (-1,)},
    }.items(),
)
def test_layouts_that_cannot_work_are_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        BlocksConfig(**changes)
    snapshot(name, str(refusal.value))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "block_beyond_the_street": {"blocks": BlocksConfig(count=2, only=(0, 7))},
        "root_not_there": {"street": StreetConfig(root=5)},
        "unknown_light": {"street": StreetConfig(light="mornin")},
    }.items(),
)
def test_what_the_street_does_not_have_is_refused_before_training(name, changes, tmp_path, snapshot):
    with pytest.raises(ConfigError) as refusal:
        train("blocknerf", replace(TINY, **changes), out=tmp_path / "run", device="cpu")
    snapshot(name, str(refusal.value))
    assert not (tmp_path / "run").exists()


def test_lights_are_asked_for_of_data_that_name_none(scene, snapshot):
    nameless = replace(scene, views=tuple(replace(view, light=None) for view in scene.views))
    with pytest.raises(ConfigError) as refusal:
        plan_street(nameless, BlocksConfig(), BlockConfig(codes="light"))
    snapshot("no_lights", str(refusal.value))


def test_exposure_is_asked_of_a_run_that_knows_none(trained, snapshot):
    task = open_run(trained.path, "cpu").whole
    task.plan = replace(task.plan, unit=None)
    with pytest.raises(ConfigError) as refusal:
        task.field.at(1.0)
    snapshot("no_exposures", str(refusal.value))
    assert isinstance(task.field.lit, LitStreet)
