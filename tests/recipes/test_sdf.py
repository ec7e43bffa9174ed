"""The recipe of distance fields from end to end: it learns, resumes to the same bits, exports without its
mesh, and refuses cleanly."""

import json
from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.shapes.shape import ShapeConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.sdf import SDFConfig
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.shape import ShapeTraining, depth_of
from rayformer.recipes.parts.shape_export import MeshOptions
from rayformer.recipes.sdf import RECIPE, SDFRecipe, groups
from rayformer.runs.run import Run
from tests.geometry.solids import ball, box

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")

TINY = SDFRecipe(
    model=SDFConfig(grid=HashGridConfig(levels=3, features=4, coarsest=4, finest=16, log2_rows=12), width=16),
    shape=ShapeTraining(points=1024, pool=4096, points_at_once=512, resolution=32, surface_points=2000),
    plan=Plan(
        steps=40,
        optim=Optim(rate=2e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.02),
        log_every=1,
        evaluate_every=0,
        save_every=20,
        precision="32",
        prefetch=0,
    ),
)


def written(path, mesh):
    trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).export(path)
    return path


def of(path, **changes) -> SDFRecipe:
    return replace(TINY, data=ShapeConfig(source=str(path)), **changes)


@pytest.fixture(autouse=True)
def small_measurements(monkeypatch):
    monkeypatch.setattr("rayformer.recipes.parts.shape.HELD_OUT", 2**12)
    monkeypatch.setattr("rayformer.recipes.parts.shape_view.PIXELS", 48)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    """A ball about (1, 2, 3), of radius 2; it starts as a smaller one."""
    folder = tmp_path_factory.mktemp("sdf")
    mesh = written(folder / "ball.ply", ball(2.0, (1.0, 2.0, 3.0)))
    config = of(mesh, model=replace(TINY.model, start=0.3), plan=replace(TINY.plan, steps=150, save_every=75))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rayformer.recipes.parts.shape.HELD_OUT", 2**12)
        patch.setattr("rayformer.recipes.parts.shape_view.PIXELS", 48)
        return train("sdf", config, out=folder / "run", device="cpu").run


def test_a_ball_is_learned_in_seconds(trained):
    result = trained.result()
    assert result["chamfer_percent"] < 0.5
    assert result["iou"] > 0.95
    assert result["normal_consistency"] > 0.97
    assert result["sign_accuracy"] > 0.98
    assert {path.stem for path in (trained.path / "pictures").rglob("*.png")} == {
        "1-front", "2-behind", "3-above", "slice",
    }  # fmt: skip


def test_the_exported_mesh_lies_where_the_input_did(trained, tmp_path):
    loaded = open_run(trained.path, "cpu")
    export = loaded.recipe.exports["mesh"]
    numbers = export.write(loaded, MeshOptions(resolution=48), tmp_path / "ball.ply")
    mesh = trimesh.load(tmp_path / "ball.ply")
    assert (numbers["closed"], numbers["faces"]) == (True, len(mesh.faces))
    assert mesh.vertices.mean(axis=0).tolist() == pytest.approx([1, 2, 3], abs=0.05)
    assert numbers["volume"] == pytest.approx(4 / 3 * 3.14159 * 8, rel=0.05)
    assert mesh.is_watertight


def test_a_finished_run_exports_without_its_mesh_but_says_that_it_cannot_be_measured(trained, tmp_path):
    import shutil

    moved = tmp_path / "run"
    shutil.copytree(trained.path, moved)
    text = (moved / "run.yaml").read_text()
    (moved / "run.yaml").write_text(text.replace("ball.ply", "gone.ply"))
    loaded = open_run(moved, "cpu")
    assert loaded.recipe.exports["mesh"].write(loaded, MeshOptions(resolution=16), tmp_path / "a.obj")[
        "faces"
    ]
    with pytest.raises(DataError, match=r"gone\.ply: there is no such file"):
        evaluate(moved, device="cpu")


def test_it_is_measured_again_to_the_same_numbers_and_against_another_mesh_in_its_own_frame(
    trained, tmp_path
):
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}
    smaller = written(tmp_path / "smaller.ply", ball(1.8, (1.0, 2.0, 3.0)))
    other = evaluate(trained.path, str(smaller), device="cpu")
    assert other["iou"] == pytest.approx((1.8 / 2.0) ** 3, abs=0.04)
    # A radius more of 0.2, in a box with a diagonal of 4 sqrt(3).
    assert other["chamfer_percent"] == pytest.approx(100 * 0.2 / (4 * 3**0.5), rel=0.1)


def test_another_mesh_under_the_same_name_is_not_measured_by_mistake(trained, tmp_path, snapshot):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    (run / "run.yaml").write_text(
        (run / "run.yaml")
        .read_text()
        .replace(str(trained.path.parent / "ball.ply"), str(tmp_path / "ball.ply"))
    )
    written(tmp_path / "ball.ply", box())
    with pytest.raises(DataError) as refusal:
        evaluate(run, device="cpu")
    said = str(refusal.value)
    for fingerprint in (trained.manifest["data"]["fingerprint"], said.split("fingerprint is ")[1][:16]):
        said = said.replace(fingerprint, "0123")
    snapshot("recipe_other_mesh", said)


@pytest.mark.parametrize("kind", ["hash", "fourier", "siren"])
def test_a_run_that_broke_off_goes_on_to_the_same_bits(kind, tmp_path, monkeypatch):
    mesh = written(tmp_path / "box.ply", box())
    plan = replace(TINY.plan, steps=12, save_every=6)
    config = of(mesh, model=replace(TINY.model, kind=kind, octaves=2), plan=plan)
    whole = train("sdf", config, out=tmp_path / "whole", device="cpu").run
    log = Run.log

    def broken(self, step, **numbers):
        log(self, step, **numbers)
        if step == 9:
            raise OSError("the power is cut")

    with monkeypatch.context() as power:
        power.setattr(Run, "log", broken)
        with pytest.raises(OSError, match="the power is cut"):
            train("sdf", config, out=tmp_path / "parts", device="cpu")
    parts = train("sdf", config, resume=tmp_path / "parts", device="cpu").run
    first, second = (read_checkpoint(run)[0].tensors for run in (whole, parts))
    for file in first:
        assert all(torch.equal(first[file][name], second[file][name]) for name in first[file])
    numbers = [{k: v for k, v in run.result().items() if not k.endswith("_s")} for run in (whole, parts)]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("pool", [None, 500])
def test_processes_share_a_batch_that_does_not_depend_on_them(pool, tmp_path):
    mesh = written(tmp_path / "box.ply", box())
    config = of(mesh, shape=replace(TINY.shape, points=64, pool=pool), plan=replace(TINY.plan, steps=1))
    task = open_run(train("sdf", config, out=tmp_path / "run", device="cpu").run.path, "cpu").task
    whole = task.batch("train", 7, 0, 1).whole
    halves = [task.batch("train", 7, rank, 2).whole for rank in range(2)]
    for get in (
        lambda p: p.samples.places,
        lambda p: p.samples.distance,
        lambda p: p.on_surface,
        lambda p: p.sloped,
    ):
        assert torch.equal(get(whole), torch.cat([get(half) for half in halves]))
    assert torch.equal(whole.samples.places, task.batch("train", 7, 0, 1).whole.samples.places)
    assert not torch.equal(whole.samples.places, task.batch("train", 8, 0, 1).whole.samples.places)
    assert int(whole.on_surface.sum()) == config.shape.counts(64)[0]
    assert not whole.samples.distance[whole.on_surface].any()


def test_points_that_processes_cannot_share_evenly_are_refused(trained, snapshot):
    with pytest.raises(ConfigError) as refusal:
        open_run(trained.path, "cpu").task.batch("train", 0, 0, 3)
    snapshot("recipe_uneven", str(refusal.value))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "shares": {"surface_share": 0.7, "near_share": 0.5},
        "no_widths": {"widths": ()},
        "no_pool": {"pool": 0},
        "no_points": {"points": 0},
        "resolution": {"resolution": 4},
    }.items(),
)
def test_training_options_that_cannot_work_are_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ShapeTraining(**changes)
    snapshot(f"recipe_{name}", str(refusal.value))


def test_a_surface_that_is_nowhere_is_not_exported(trained, tmp_path, snapshot):
    loaded = open_run(trained.path, "cpu")
    with torch.no_grad():
        loaded.model.to_distance[1].bias.fill_(5.0)
    with pytest.raises(DataError) as refusal:
        loaded.recipe.exports["mesh"].write(loaded, MeshOptions(resolution=16), tmp_path / "a.ply")
    snapshot("recipe_no_surface", str(refusal.value).replace(str(trained.path), "RUN"))


def test_a_frame_that_was_torn_is_refused(trained, tmp_path, snapshot):
    import shutil

    from rayformer.core.errors import RunError

    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    (run / "assets" / "shape.json").write_text("{")
    with pytest.raises(RunError) as refusal:
        open_run(run, "cpu")
    snapshot("recipe_torn_frame", str(refusal.value))


def test_the_frame_that_is_kept_is_that_of_the_mesh(trained):
    kept = json.loads((trained.path / "assets" / "shape.json").read_text())
    assert kept["scale"] == pytest.approx(0.8 / 2, rel=1e-3)
    assert kept["translation"] == pytest.approx([-0.4, -0.8, -1.2], rel=1e-3)


def test_the_density_of_a_distance_passes_one_on_the_surface():
    density = depth_of(lambda places: places[:, 0], 0.1)
    at = torch.tensor([[-1.0, 0, 0], [-0.05, 0, 0], [0, 0, 0], [0.05, 0, 0], [1, 0, 0]]).double()
    assert density(at).tolist() == pytest.approx([2, 1.5, 1, 0.5, 0])


def test_the_table_is_sparse_and_a_field_without_one_is_one_group():
    from rayformer.fields.sdf import SDF

    table, network = groups(SDF(TINY.model))
    assert (table.parameters, table.sparse, network.sparse) == (("encode.table",), True, False)
    (whole,) = groups(SDF(SDFConfig(kind="siren", width=8)))
    assert not whole.sparse
    assert whole.rate * RECIPE.default.plan.optim.rate == pytest.approx(1e-4), "SIREN's own"


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_knot(tmp_path):
    outcome = train("sdf", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["chamfer_percent"] < 0.3
    assert outcome.result["iou"] > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fourier", "siren"])
def test_the_other_kinds_learn_a_box_too(kind, tmp_path):
    mesh = written(tmp_path / "box.ply", box())
    plan = replace(TINY.plan, steps=300, optim=Optim(rate=2e-2 if kind == "fourier" else 6e-2))
    config = of(mesh, model=replace(TINY.model, kind=kind, octaves=3, width=64, depth=3), plan=plan)
    result = train("sdf", config, out=tmp_path / "run", device="cpu").run.result()
    assert result["iou"] > 0.95
    assert result["chamfer_percent"] < 1.0


@pytest.mark.real
@pytest.mark.slow
def test_the_bunny_which_is_open_is_said_to_be_and_learned(real_data, tmp_path):
    config = replace(RECIPE.smoke, data=ShapeConfig(source=str(real_data("sdf_meshes"))))
    run = train("sdf", config, out=tmp_path / "run", device="cpu").run
    assert any("has holes" in remark for remark in run.manifest["data"]["remarks"])
    assert run.result()["iou"] > 0.93
