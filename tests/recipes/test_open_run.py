"""From a recipe's name to a run and back to a model: chains, resumes, starts from given weights, refusals."""

import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rayformer.core.config import from_plain, to_plain
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.scene import SceneConfig
from rayformer.data.shapes.shape import ShapeConfig
from rayformer.data.signals.signal import SignalConfig
from rayformer.engine.chain import best_weights
from rayformer.engine.plan import Optim
from rayformer.recipes import index, open_run
from rayformer.runs.run import Run
from tests.engine.toys import Line
from tests.recipes import toy_recipes
from tests.recipes.toy_recipes import RECIPES, SHORT, ToyConfig, ToyData

CONFIG = ToyConfig()


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    monkeypatch.setattr(index, "load", RECIPES.__getitem__)


def train(name: str, path: Path, config: ToyConfig = CONFIG, **asked) -> open_run.TrainOutcome:
    where = {"resume": path} if (path / "run.yaml").exists() else {"out": path}
    return open_run.train(name, config, **where, device="cpu", **asked)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return best_weights(Run.open(path))[0]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def interrupted_at(step: int, stage: type, monkeypatch) -> None:
    """One Ctrl-C before `step` of the next stage whose task is a `stage`."""

    def before_step(task: Line, now: int, generator: torch.Generator) -> None:
        if now == step and type(task) is stage:
            monkeypatch.setattr(Line, "before_step", lambda task, now, generator: None)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Line, "before_step", before_step)


# ---------------------------------------------------------------- chains


def test_a_chain_is_trained_opened_and_measured_as_one_run(tmp_path):
    outcome = train("two-step", tmp_path / "run", seed=3)
    stages = dict(outcome.run.stages())
    assert not outcome.interrupted
    assert list(stages) == ["coarse", "fine"]
    fine, coarse = stages["fine"].result(), stages["coarse"].result()
    assert outcome.result == outcome.run.result()
    assert outcome.result == fine | {"train_s": round(fine["train_s"] + coarse["train_s"], 1)}
    assert fine["squared_error"] < coarse["squared_error"]

    loaded = open_run.open_run(outcome.run.path, "cpu")
    assert (loaded.name, loaded.seed, loaded.step, loaded.config) == ("two-step", 3, SHORT.steps, CONFIG)
    assert list(loaded.tasks) == ["coarse", "fine"]
    assert not loaded.model.training
    assert_same(dict(open_run.load(outcome.run.path).state_dict()), weights(stages["fine"].path))
    numbers = open_run.evaluate(outcome.run.path, device="cpu")
    assert numbers == {"squared_error": fine["squared_error"]}
    assert open_run.evaluate(outcome.run.path, source="doubled", device="cpu") != numbers


def test_a_stage_is_loaded_by_its_own_folder(tmp_path):
    run = train("two-step", tmp_path / "run").run
    coarse = run.path / "stages" / "coarse"
    assert_same(dict(open_run.load(coarse).state_dict()), weights(coarse))
    assert list(open_run.open_run(coarse, "cpu").tasks) == ["coarse"]


@pytest.mark.parametrize("stage", [Line, toy_recipes.Fine])
def test_a_chain_that_was_interrupted_goes_on_to_the_same_bits(stage, tmp_path, monkeypatch, capsys):
    interrupted_at(6, stage, monkeypatch)
    run = tmp_path / "run"
    outcome = train("two-step", run, seed=5)
    assert outcome.interrupted
    assert outcome.result == {}
    assert f"step 7 is saved, go on with --resume {run}\n" in capsys.readouterr().err
    if stage is Line:  # nothing of the second stage is there yet
        with pytest.raises(RunError, match="stages/fine holds no whole checkpoint yet") as error:
            open_run.load(run)
        assert str(error.value).endswith(f"--resume {run}")
    assert not train("two-step", run).interrupted
    whole = train("two-step", tmp_path / "whole", seed=5).run.path
    for name in ("coarse", "fine"):
        assert_same(weights(run / "stages" / name), weights(whole / "stages" / name))
    assert Run.open(run).manifest["resumed"][0]["step"] == (7 if stage is Line else SHORT.steps + 7)


def test_a_resume_of_a_stage_is_a_resume_of_its_run(tmp_path, monkeypatch):
    interrupted_at(6, toy_recipes.Fine, monkeypatch)
    run = train("two-step", tmp_path / "run").run
    again = open_run.train("two-step", CONFIG, resume=run.path / "stages" / "fine", device="cpu")
    assert again.run == run
    assert [name for name, _ in run.stages()] == ["coarse", "fine"]
    assert run.result()


def test_independent_stages_are_one_result_whoever_comes_last(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        assert not Run(tmp_path / "run").result()
        monkeypatch.setenv("RANK", rank)
        outcome = open_run.train("blocks", CONFIG, out=tmp_path / "run", device="cpu")
        assert not outcome.interrupted
    assert [name for name, _ in outcome.run.stages()] == ["a", "b", "c"]
    assert outcome.result == outcome.run.result()
    assert {"a/squared_error", "b/squared_error", "c/squared_error", "train_s"} <= outcome.result.keys()


# ---------------------------------------------------------------- resumes


def test_a_resume_keeps_its_seed_and_notes_how_long_it_trains(tmp_path):
    longer = replace(CONFIG, plan=replace(SHORT, steps=20))
    run = train("line", tmp_path / "run", seed=9).run
    train("line", run.path, longer)
    assert run.result()["steps"] == 20
    assert (run.manifest["seed"], run.manifest["config"]["plan"]["steps"]) == (9, 20)
    assert_same(weights(run.path), weights(train("line", tmp_path / "whole", longer, seed=9).run.path))


def test_a_run_does_not_go_on_as_another_recipe(tmp_path):
    run = train("line", tmp_path / "run").run
    with pytest.raises(RunError, match="is a run of line and cannot go on as two-step"):
        train("two-step", run.path)


def test_a_run_that_died_while_it_read_its_data_can_be_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(Run, "remove_if_untrained", lambda run: None)  # kill -9 leaves no time to tidy up
        dying.setattr(toy_recipes, "data", lambda config: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train("line", tmp_path / "run", seed=4)
    run = Run.open(tmp_path / "run")
    assert from_plain(ToyConfig, run.manifest["config"]) == CONFIG
    assert "data" not in run.manifest
    train("line", run.path)
    assert run.manifest["data"]["fingerprint"] == "numbers"
    assert {"device", "precision", "processes"} <= run.manifest.keys()
    assert_same(weights(run.path), weights(train("line", tmp_path / "whole", seed=4).run.path))


@pytest.mark.parametrize("name", ["line", "two-step"])
def test_what_was_refused_or_interrupted_before_its_first_step_leaves_no_folder(name, tmp_path, monkeypatch):
    with pytest.raises(DataError):
        train(name, tmp_path / "run", replace(CONFIG, data=ToyData(source="none")))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError):
        open_run.train(name, CONFIG, out=tmp_path / "run", device="abacus")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(toy_recipes, "line", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- from given weights

STILL = ToyConfig(plan=replace(SHORT, steps=1, optim=Optim(name="sgd", rate=1e-30, momentum=0.0)))
"""A training that leaves the weights where they began."""


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_training_begins_from_the_weights_that_a_run_would_be_judged_by(ema, tmp_path, capsys):
    first = train("line", tmp_path / "first", replace(CONFIG, plan=replace(SHORT, ema=ema))).run
    second = train("line", tmp_path / "second", STILL, start=str(first.path), seed=1).run
    assert f"begins from the weights of {first.path}, step 12" in capsys.readouterr().err
    assert_same(weights(second.path), weights(first.path))
    assert second.manifest["from"] == str(first.path)


def test_a_training_begins_from_a_file_or_a_stage(tmp_path):
    chain = train("two-step", tmp_path / "chain").run.path
    coarse = weights(chain / "stages" / "coarse")
    save_file(coarse, tmp_path / "weights.safetensors")
    for number, start in enumerate((tmp_path / "weights.safetensors", chain / "stages" / "coarse")):
        run = train("line", tmp_path / f"run{number}", STILL, start=str(start)).run
        assert_same(weights(run.path), coarse)


def test_a_start_from_weights_survives_a_kill_before_the_first_checkpoint(tmp_path, monkeypatch):
    first = train("line", tmp_path / "first").run.path
    whole = train("line", tmp_path / "whole", start=str(first), seed=2).run.path
    with monkeypatch.context() as dying:
        dying.setattr(Line, "before_step", lambda task, step, generator: 1 / (2 - step))
        with pytest.raises(ZeroDivisionError):
            train("line", tmp_path / "killed", start=str(first), seed=2)
    assert not Run.open(tmp_path / "killed").checkpoints()
    assert_same(weights(train("line", tmp_path / "killed").run.path), weights(whole))


def test_independent_stages_all_begin_from_given_weights_whenever_they_begin(tmp_path):
    first = train("line", tmp_path / "first").run.path
    blocks = train("blocks", tmp_path / "blocks", STILL, start=str(first)).run.path
    for name in "abc":
        assert_same(weights(blocks / "stages" / name), weights(first))
    shutil.rmtree(blocks / "stages" / "b")
    train("blocks", blocks, STILL)
    assert_same(weights(blocks / "stages" / "b"), weights(first))


def test_weights_that_do_not_fit_are_refused_with_the_reason(tmp_path, snapshot):
    wide = train("line", tmp_path / "wide", ToyConfig(width=6)).run.path
    chain = train("two-step", tmp_path / "chain").run.path
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    for name, start, kind in [
        ("another_size", wide, RunError),
        ("a_whole_chain", chain, RunError),
        ("another_model", tmp_path / "other.safetensors", RunError),
        ("no_run", tmp_path / "empty", RunError),
        ("broken", tmp_path / "broken.safetensors", RunError),
        ("nothing", tmp_path / "nothing", ConfigError),
    ]:
        with pytest.raises(kind) as error:
            train("line", tmp_path / "run", start=str(start))
        snapshot(name, str(error.value))
        assert not (tmp_path / "run").exists()


def test_the_config_in_run_yaml_is_the_one_asked_for(tmp_path):
    config = replace(CONFIG, noise=0.2)
    manifest = train("line", tmp_path / "run", config, defaults=CONFIG, smoke=True).run.manifest
    assert manifest["config"] == to_plain(config)
    assert manifest["defaults"] == to_plain(CONFIG)
    assert manifest["smoke"] is True
    assert "from" not in manifest


@pytest.mark.parametrize(
    "data", [SceneConfig(source="demo"), SignalConfig(source="text-2"), ShapeConfig(source="demo")]
)
def test_a_name_of_drawn_data_is_no_folder_of_that_name(data, tmp_path, monkeypatch):
    """`--data town --out town` must not read the run that it is about to write."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / data.source).mkdir()

    @dataclass(frozen=True)
    class Config:
        data: object

    assert open_run._with_whole_path(Config(data)).data.source == data.source
    elsewhere = open_run._with_whole_path(Config(replace(data, source=f"./{data.source}")))
    assert elsewhere.data.source == str(tmp_path / data.source)
