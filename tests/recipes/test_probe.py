"""Probes: what a network learned shows, where it came from matters no more afterwards, and what cannot be
probed is refused in words."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.cli.train import read_job
from rayformer.core.config import to_plain
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.checkpoint import read_checkpoint, read_tensors
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Setting
from rayformer.nets.vit import ViTConfig
from rayformer.recipes import index
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.body import FAMILIES, AsSeen, body_from
from rayformer.recipes.parts.probes import ProbeTraining
from rayformer.recipes.probe import ProbeRecipe
from rayformer.runs.run import Run

SIDE = 16
PLAN = Plan(steps=60, log_every=20, evaluate_every=0, save_every=20, precision="32")
PLAIN = AugmentConfig(size=SIDE, crop="centre", crop_share=1.0, flip=0.0, policy=PolicyConfig(kind="none"))
PROBE = ProbeRecipe(
    probe=ProbeTraining(batch=64, shown=3),
    plan=replace(
        PLAN,
        steps=40,
        optim=Optim(name="lars", rate=6.4),
        schedule=Schedule(kind="cosine", warmup_steps=4),
    ),
)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory) -> Path:
    """A hundred pictures each of stripes that lie and that stand, of any place, width, colour: no mean over
    pixels tells them apart."""
    folder, draw = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for name in ("lying", "standing"):
        (folder / name).mkdir()
        for number in range(100):
            waves = np.sin(np.arange(SIDE) * draw.uniform(1.2, 2.0) + draw.uniform(0, 6.3))
            plain = np.broadcast_to(waves[:, None], (SIDE, SIDE))
            plain = plain.T if name == "standing" else plain
            colours = 128 + draw.uniform(-90, 90, 3) * plain[..., None] + draw.normal(0, 8, (SIDE, SIDE, 3))
            Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def network(name: str, stripes: Path, steps: int):
    smoke = index.load(name).smoke
    if name == "vit":
        smoke = replace(smoke, model=ViTConfig(patch_size=4, width=32, depth=2, heads=2))
    return replace(
        smoke,
        data=ImagesConfig(source=str(stripes), validation=0.0),
        augment=PLAIN,
        train=replace(smoke.train, batch=32, mix=MixConfig(mixup=0.0, cutmix=0.0, smoothing=0.0), shown=2),
        plan=replace(PLAN, steps=steps, optim=Optim(name="adamw", rate=3e-3)),
    )


def probe(stripes: Path, **changes) -> ProbeRecipe:
    return replace(PROBE, data=ImagesConfig(source=str(stripes), validation=0.2), **changes)


@pytest.fixture(scope="module")
def bodies(stripes, tmp_path_factory) -> dict[str, Path]:
    """The same network, trained and not."""
    folder = tmp_path_factory.mktemp("bodies")
    for name, steps in (("trained", 80), ("untrained", 0)):
        train("vit", network("vit", stripes, steps), out=folder / name, device="cpu")
    return {name: folder / name for name in ("trained", "untrained")}


@pytest.fixture(scope="module")
def runs(bodies, stripes, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("probes")
    return {
        name: train("probe", probe(stripes), out=folder / name, start=str(body), device="cpu").run
        for name, body in bodies.items()
    }


# ---------------------------------------------------------------------- what a network knows


def test_every_reader_sees_what_the_body_has_learned(runs):
    trained, untrained = (runs[name].result() for name in ("trained", "untrained"))
    assert next(iter(trained)) == "top1", "the first number picks the best checkpoint"
    for reader in ("top1", "logistic_top1", "knn_top1"):
        assert trained[reader] >= 0.9, reader
        assert trained[reader] > untrained[reader] + 0.1, reader


def test_the_body_is_left_as_it_was(runs, bodies):
    given = read_checkpoint(Run(bodies["trained"]))[0].tensors["model"]
    kept = read_checkpoint(runs["trained"])[0].tensors["model"]
    body = {key.removeprefix("body."): tensor for key, tensor in kept.items() if key.startswith("body.")}
    assert body.keys() == {key for key in given if not key.startswith("head.")}
    assert all(torch.equal(tensor, given[key]) for key, tensor in body.items())
    assert {key for key in kept if not key.startswith("body.")} == {
        "head.weight", "head.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    }  # fmt: skip


def test_what_is_kept_are_the_features_that_the_head_of_the_run_sees(runs, bodies):
    kept = read_tensors(runs["trained"].assets / "features" / "train.safetensors")
    task = open_run(runs["trained"].path, device="cpu").task
    seen: list[torch.Tensor] = []
    source = open_run(bodies["trained"], device="cpu").model
    source.get_submodule("head").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    part = task.data.split("train")
    with torch.no_grad():
        source(torch.stack([task.see(part.opened(place)) for place in range(5)]))
    torch.testing.assert_close(kept["features"][:5], seen[0], atol=1e-5, rtol=1e-5)
    assert kept["labels"].tolist() == part.labels.tolist()


@pytest.mark.parametrize("augment", [False, True])
def test_a_resumed_probe_gives_the_same_bits(augment, bodies, stripes, tmp_path):
    config = probe(stripes, probe=replace(PROBE.probe, augment=augment))
    whole = train("probe", config, out=tmp_path / "whole", start=str(bodies["trained"]), device="cpu").run
    again = train("probe", config, resume=stopped_at(20, whole, tmp_path / "again"), device="cpu").run
    first, second = (read_checkpoint(run)[0].tensors["model"] for run in (whole, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def stopped_at(step: int, run: Run, folder: Path) -> Path:
    """The run as it was when it had saved that step."""
    for name in ("run.yaml", "assets", f"checkpoints/{step:06d}"):
        copy(run.path / name, folder / name)
    return folder


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def test_a_run_needs_its_source_no_more(bodies, stripes, tmp_path):
    copy(bodies["trained"], tmp_path / "body")
    half = probe(stripes, plan=replace(PROBE.plan, steps=20))
    run = train("probe", half, out=tmp_path / "run", start=str(tmp_path / "body"), device="cpu").run
    shutil.rmtree(tmp_path / "body")
    assert evaluate(run.path, device="cpu")["knn_top1"] == pytest.approx(run.result()["knn_top1"])
    train("probe", probe(stripes), resume=run.path, device="cpu")
    assert run.result()["steps"] == 40
    loaded = open_run(run.path, device="cpu")
    said = loaded.recipe.predict(loaded, [str(stripes / "lying")], None)
    assert [answer["class"] for answer in said.values.values()].count("lying") > 85


def test_other_pictures_are_measured_by_all_readers(runs, stripes, tmp_path):
    copy(stripes / "standing", tmp_path / "others" / "standing")
    numbers = evaluate(runs["trained"].path, str(tmp_path / "others"), device="cpu")
    assert min(numbers["top1"], numbers["logistic_top1"], numbers["knn_top1"]) > 0.9


def test_features_of_another_body_are_computed_anew(runs, tmp_path):
    copy(runs["untrained"].path, tmp_path / "run")
    task = open_run(tmp_path / "run", device="cpu").task
    task.model.load_state_dict(dict(read_checkpoint(runs["trained"])[0].tensors["model"]))
    kept = read_tensors(runs["trained"].assets / "features" / "train.safetensors")["features"]
    torch.testing.assert_close(task.rows("train").features, kept)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_can_be_probed(name, stripes, tmp_path):
    source = train(name, network(name, stripes, 0), out=tmp_path / "body", device="cpu").run
    config = probe(stripes, plan=replace(PROBE.plan, steps=2))
    run = train("probe", config, out=tmp_path / "run", start=str(source.path), device="cpu").run
    assert {"top1", "logistic_top1", "knn_top1"} <= run.result().keys()
    assert list((run.path / "pictures").rglob("*.png"))
    model = open_run(run.path, device="cpu").model
    assert not any(value.requires_grad for name, value in model.named_parameters() if "body." in name)
    model.train()
    assert not any(module.training for module in model.get_submodule("body").modules())


def test_weights_by_themselves_are_probed_where_one_says_what_they_are(stripes, tmp_path):
    from safetensors.torch import save_file

    body = body_from("weights.safetensors", "vit", "ti", AsSeen(size=SIDE * 2))
    assert body.model.width == 192
    assert body.model.image_size == body.augment.size == 32
    network, features = body.built()
    assert features == 192
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    config = probe(stripes, net="vit", size="ti", augment=AsSeen(size=32), plan=replace(PROBE.plan, steps=0))
    run = train(
        "probe", config, out=tmp_path / "run", start=str(tmp_path / "weights.safetensors"), device="cpu"
    ).run
    kept = read_checkpoint(run)[0].tensors["model"]
    assert torch.equal(kept["body.class_token"], network.state_dict()["class_token"])


def test_pictures_are_seen_as_the_body_was_trained_unless_one_says_otherwise(bodies):
    start = str(bodies["trained"])
    seen = body_from(start, None, None, AsSeen()).augment
    assert (seen.size, seen.crop, seen.flip, seen.seen_share) == (SIDE, "centre", 0.0, 1.0)
    other = body_from(start, None, None, AsSeen(size=24, colours="half", flip=0.5))
    assert (other.augment.size, other.augment.colours, other.augment.flip) == (24, "half", 0.5)
    assert other.augment.policy.kind == "none"
    assert other.augment.erase.chance == 0
    assert other.model.image_size == SIDE, "its positions are those it has; others are interpolated"


def test_without_held_back_pictures_the_penalty_is_that_of_strength_one(bodies, stripes, tmp_path):
    config = replace(probe(stripes), data=ImagesConfig(source=str(stripes), validation=0.0))
    config = replace(config, probe=replace(PROBE.probe, neighbours=0), plan=replace(PROBE.plan, steps=2))
    result = train("probe", config, out=tmp_path / "run", start=str(bodies["trained"]), device="cpu").result
    assert result["logistic_strength"] == 1
    assert "knn_top1" not in result


def test_exported_weights_are_all_there_are(runs, tmp_path):
    loaded = open_run(runs["trained"].path, device="cpu")
    export = loaded.recipe.exports["safetensors"]
    export.write(loaded, export.options, tmp_path / "model.safetensors")
    assert read_tensors(tmp_path / "model.safetensors").keys() == loaded.model.state_dict().keys()


def test_exported_to_onnx_it_says_the_same(runs, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    loaded = open_run(runs["trained"].path, device="cpu")
    export = loaded.recipe.exports["onnx"]
    told = export.write(loaded, export.options, tmp_path / "model.onnx")
    assert told["largest_difference"] < 1e-4


# ---------------------------------------------------------------------- the head alone


def test_where_only_the_head_learns_all_else_stays_to_the_last_bit(stripes, tmp_path):
    """A network with batch norms, whose statistics would move, and an average of the weights beside it."""
    body = train("resnet-rs", network("resnet-rs", stripes, 2), out=tmp_path / "body", device="cpu").run
    config = network("resnet-rs", stripes, 40)
    config = replace(
        config,
        train=replace(config.train, tune="head"),
        plan=replace(config.plan, ema=0.9, evaluate_every=10),
        data=replace(config.data, validation=0.1),
    )
    whole = train("resnet-rs", config, out=tmp_path / "whole", start=str(body.path), device="cpu").run
    given, kept = (read_checkpoint(run)[0].tensors["model"] for run in (body, whole))
    moved = {name for name in given if not torch.equal(given[name], kept[name])}
    assert moved == {"head.weight", "head.bias"}
    assert {key.rsplit(".", 1)[0] for key in read_checkpoint(whole)[0].tensors["optimizer"]} == moved
    again = train("resnet-rs", config, resume=stopped_at(20, whole, tmp_path / "again"), device="cpu").run
    for part in ("model", "ema"):
        first, second = (read_checkpoint(run)[0].tensors[part] for run in (whole, again))
        assert all(torch.equal(first[key], second[key]) for key in first), part


# ---------------------------------------------------------------------- what cannot be


def refused(snapshot, name: str, error: type[Exception], **words) -> None:
    with pytest.raises(error) as caught:
        body_from(**{"start": None, "net": None, "size": None, "seen": AsSeen(), **words})
    snapshot(name, str(caught.value))


def test_a_probe_of_nothing(snapshot, stripes, tmp_path):
    refused(snapshot, "of_nothing", ConfigError)
    with pytest.raises(ConfigError, match="Give --from RUN"):
        train("probe", probe(stripes), out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_that_recognises_nothing(snapshot, tmp_path):
    run = Run.create(tmp_path / "scene", "nerf", {"config": {}})
    refused(snapshot, "of_a_scene", ConfigError, start=str(run.path))


def test_a_run_is_asked_what_it_is(snapshot, tmp_path):
    run = Run.create(tmp_path / "run", "vit", {"config": {}})
    refused(snapshot, "of_a_run_and_a_net", ConfigError, start=str(run.path), net="vit")


def test_weights_do_not_say_what_they_are_of(snapshot):
    refused(snapshot, "of_weights", ConfigError, start="some.safetensors")
    refused(snapshot, "of_weights_without_size", ConfigError, start="some.safetensors", net="vit")
    refused(snapshot, "of_an_unknown_size", ConfigError, start="some.safetensors", net="vit", size="small")


def test_an_unknown_net(snapshot):
    with pytest.raises(ConfigError) as caught:
        read_job(["probe", "--net", "vgg"], "rayformer train RECIPE")
    snapshot("unknown_net", str(caught.value))


def test_weights_of_another_network(bodies, stripes, tmp_path):
    weights = next((bodies["trained"] / "checkpoints").iterdir()) / "model.safetensors"
    config = probe(stripes, net="swin", size="t", augment=AsSeen(size=32))
    with pytest.raises(DataError, match="another architecture"):
        train("probe", config, out=tmp_path / "run", start=str(weights), device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_never_trained_and_one_stopped_too_early(stripes, tmp_path):
    config = to_plain(network("vit", stripes, 0))
    empty = Run.create(tmp_path / "empty", "vit", {"config": config, "seed": 0})
    with pytest.raises(RunError, match="no whole checkpoint"):
        train("probe", probe(stripes), out=tmp_path / "run", start=str(empty.path), device="cpu")
    stopped = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path / "assets", training=False)
    with pytest.raises(RunError, match="before it had read its network"):
        index.load("probe").build(probe(stripes), stopped)


def test_fields_are_refused_by_name(stripes, bodies, tmp_path):
    for wrong, says in (
        ({"batch": 1}, "probe.batch must be at least 2"),
        ({"neighbours": -1}, "probe.neighbours must not be negative"),
        ({"shown": -1}, "probe.shown must not be negative"),
        ({"temperature": 0.0}, "probe.temperature must be above 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            ProbeTraining(**wrong)
    with pytest.raises(ConfigError, match=r"augment\.size must be at least 1"):
        body_from(str(bodies["trained"]), None, None, AsSeen(size=0))
    sharded = probe(stripes, plan=replace(PROBE.plan, shard=True))
    with pytest.raises(ConfigError, match=r"plan\.shard"):
        train("probe", sharded, out=tmp_path / "run", start=str(bodies["trained"]), device="cpu")


def test_processes_share_a_batch_that_is_large_enough(runs):
    task = open_run(runs["trained"].path, device="cpu").task
    whole = task.batch("train", 3, 0, 1)
    shares = [task.batch("train", 3, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([share.features for share in shares]), whole.features)
    with pytest.raises(ConfigError, match="at least 2 for each of 40 processes"):
        task.batch("train", 0, 0, 40)
