"""The run folder: everything a training run leaves behind, and nothing that needs torch to be read.

    Run             create one, open one; log numbers, keep pictures, write the result
    RUN/run.yaml    the manifest: recipe, whole config, data, seed, versions, device, precision and why,
                    started, command
    metrics.jsonl   one JSON object per log step, appended and flushed; `step` is in each
    result.json     the final numbers by name, the unit in the name
    assets/         what was fitted before training
    checkpoints/    000500/ holds step 500; `state.json` is written last, so a folder without it is torn
    pictures/       PNGs, their captions inside them
    stages/NAME/    a run folder of its own for each stage of a chain; the manifest is its parent's

A killed process may leave a torn last line in metrics.jsonl and a torn newest checkpoint. Both are passed
over on reading; everything else is written whole or not at all (`atomic`).
"""

import json
import math
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, SupportsFloat

import yaml

from rayformer.core.errors import RunError
from rayformer.runs.atomic import append_line, whole_lines, write_text
from rayformer.runs.pictures import Picture, read_caption, save_png

MANIFEST, METRICS, RESULT, STATE = "run.yaml", "metrics.jsonl", "result.json", "state.json"
SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads values and makes no objects; ten times as quick where PyYAML was built with libyaml."""


@dataclass(frozen=True)
class Run:
    """One run folder. Holds nothing but the path: what it says is always what stands on the disk."""

    path: Path

    @classmethod
    def create(cls, path: Path | str | None, recipe: str, manifest: Mapping[str, Any]) -> "Run":
        """Start a run folder at `path`, or without one at `runs/DATE-TIME-RECIPE` in the working directory.

        `manifest` adds to, or overrides, what is noted of itself: recipe, started, command, versions. Its
        values are plain: dicts, lists, numbers, texts. Raises RunError where `path` exists and is not an
        empty folder.
        """
        path = _unused_name(recipe) if path is None else Path(path)
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file, but a run needs a folder.\nGive another --out.")
        if path.exists() and any(path.iterdir()):
            raise RunError(
                f"{path} exists and is not empty ({_contents(path)}); a run never writes over anything.\n"
                "Give another --out"
                + (
                    f", or go on with that run: rayformer train --resume {shlex.quote(str(path))}"
                    if (path / MANIFEST).is_file()
                    else "."
                )
            )
        run = cls(path)._with_folders()
        noted = {"recipe": recipe, "started": _now(), "command": _command(), "versions": versions()}
        run._write_manifest({**noted, **manifest})
        return run

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """The run, or stage of a run, at `path`. Raises RunError where there is none."""
        path = Path(path)
        if not path.exists():
            raise RunError(
                f"{path}: no such folder.\n"
                "A run folder is what `rayformer train` makes: under runs/, or where --out said."
            )
        if not path.is_dir():
            raise RunError(
                f"{path} is a file, but a run is a folder.\n"
                "Give the folder that `rayformer train` printed at its start."
            )
        run = cls(path)
        if not run._manifest_path.is_file():
            raise RunError(
                f"{path} is not a run folder: a run folder holds {MANIFEST}, this holds {_contents(path)}.\n"
                "Give the folder that `rayformer train` printed at its start."
            )
        run.manifest  # noqa: B018 - a broken manifest is better met here than later
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def root(self) -> "Run":
        """The run that was begun: of a stage, the one that it is a stage of."""
        path = self.path if self.path.parent.name == "stages" else self.path.resolve()
        whole = path.parent.parent
        is_stage = path.parent.name == "stages" and (whole / MANIFEST).exists()
        return Run(whole) if is_stage and not (path / MANIFEST).exists() else self

    # What was asked for

    @property
    def manifest(self) -> dict[str, Any]:
        """run.yaml, from the disk; a stage shows its parent's. Raises RunError, with the line, if broken."""
        path = self._manifest_path
        try:
            manifest = _parsed(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise RunError(
                f"{path} is broken: {where}{getattr(error, 'problem', None) or error}.\n"
                "Mend that line; the checkpoints beside it are unharmed."
            ) from error
        except UnicodeDecodeError as error:
            raise RunError(f"{path} is broken: it is not a text file ({error.reason}).") from error
        if not isinstance(manifest, dict) or "recipe" not in manifest:
            raise RunError(f"{path} is broken: it must map names to values, `recipe` among them.")
        return manifest

    def note(self, entries: Mapping[str, Any]) -> None:
        """Add entries to the manifest, or put them in the place of those of the same name."""
        self._write_manifest({**self.manifest, **entries})

    def remove_if_untrained(self) -> None:
        """Remove a run that was refused before anything was trained, so that its name is free again."""
        begun = any((self.path / name).exists() for name in (METRICS, RESULT))
        trained = begun or self.checkpoints() or self.stages()
        if not trained:
            shutil.rmtree(self.path, ignore_errors=True)

    def note_resume(self, step: int) -> None:
        """Add to the manifest that training went on from `step`: when, by which command and versions."""
        again = {"step": step, "when": _now(), "command": _command(), "versions": versions()}
        manifest = self.manifest
        self._write_manifest({**manifest, "resumed": [*manifest.get("resumed", []), again]})

    # What was measured on the way

    def log(self, step: int, **numbers: SupportsFloat) -> None:
        """Append one line of numbers to metrics.jsonl and flush it. NaN and infinities are kept as null."""
        line = {"step": int(step)} | {name: _json_number(value) for name, value in numbers.items()}
        append_line(self.path / METRICS, json.dumps(line))

    def metrics(self) -> list[dict[str, Any]]:
        """Every logged line in order; null reads as NaN; a torn last line is dropped.

        Raises RunError for a broken line before the last, which no crash of ours can leave.
        """
        lines = []
        for number, text in enumerate(whole_lines(self.path / METRICS), start=1):
            try:
                line = json.loads(text)
                lines.append({name: math.nan if value is None else value for name, value in line.items()})
            except (ValueError, AttributeError) as error:
                raise RunError(
                    f"{self.path / METRICS} is broken: line {number} is not a JSON object: {text[:60]!r}.\n"
                    "Delete that line; the others are unharmed."
                ) from error
        return lines

    def truncate_metrics(self, after_step: int) -> None:
        """Drop the lines past `after_step`: training goes on from there and will write them again."""
        path = self.path / METRICS
        if path.exists():
            kept = [line for line in whole_lines(path) if json.loads(line)["step"] <= after_step]
            write_text(path, "".join(f"{line}\n" for line in kept))

    # What came out

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json: final numbers by name, unit in the name (`psnr_db`); NaN becomes null."""
        write_text(self.path / RESULT, json.dumps(_json_value(result), indent=2, ensure_ascii=False) + "\n")

    def result(self) -> dict[str, Any] | None:
        """The final numbers, or None while there are none. Raises RunError where the file is broken."""
        path = self.path / RESULT
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"{path} is broken: {error}.\nDelete it; `rayformer eval` measures the run anew."
            ) from error

    def save_picture(self, name: str, picture: Picture) -> Path:
        """Keep a picture as pictures/NAME.png, caption inside. A slash in `name` groups: `held-out/0003`."""
        root = self.path / "pictures"
        path = root / f"{name}.png"
        assert path.resolve().is_relative_to(root.resolve()), f"a picture stays in its run, unlike {name!r}"
        save_png(path, picture)
        return path

    def pictures(self) -> list[tuple[str, Path, str]]:
        """Name, path and caption of every picture kept, in the order of their names."""
        root = self.path / "pictures"
        paths = sorted(path for path in root.rglob("*.png") if not path.name.startswith("."))
        names = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
        return [(name, path, read_caption(path)) for name, path in zip(names, paths, strict=True)]

    @property
    def assets(self) -> Path:
        """The folder of what was fitted before training."""
        return self.path / "assets"

    # Where training can go on from

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint of `step`, whether it is there or not."""
        return self.path / "checkpoints" / f"{step:06d}"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Step and folder of every complete checkpoint, oldest first."""
        return sorted((int(path.name), path) for path in self._checkpoint_folders() if _is_complete(path))

    def torn_checkpoints(self) -> list[Path]:
        """Folders of checkpoints whose writing never ended, or that were harmed since."""
        return [path for path in self._checkpoint_folders() if not _is_complete(path)]

    # A chain of stages

    def stage(self, name: str) -> "Run":
        """The run folder of one stage of a chain, made if it is not there."""
        assert re.fullmatch(r"\w[\w.-]*", name), f"a stage is named by one plain word, not {name!r}"
        return Run(self.path / "stages" / name)._with_folders()

    def stages(self) -> list[tuple[str, "Run"]]:
        """Name and run folder of every stage begun, in the order of their names."""
        folders = sorted(path for path in (self.path / "stages").glob("*") if path.is_dir())
        return [(path.name, Run(path)) for path in folders]

    # Its own business

    @property
    def _manifest_path(self) -> Path:
        return self.root.path / MANIFEST

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, width=110)
        write_text(self._manifest_path, text)

    def _with_folders(self) -> "Run":
        try:
            for name in ("assets", "checkpoints", "pictures"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be made: {error.strerror}.\nGive another --out.") from error
        return self

    def _checkpoint_folders(self) -> list[Path]:
        return sorted(path for path in (self.path / "checkpoints").glob("*") if path.is_dir())


def versions() -> dict[str, str]:
    """What is installed of all that can change a number, read without importing any of it."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("rayformer", "torch", "numpy", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def _command() -> str:
    """The command line as a person types it, without the folder that the program lies in."""
    program, *words = sys.argv
    name = Path(program).name
    if name == "__main__.py":  # python -m rayformer
        name = f"python -m {Path(program).parent.name}"
    return f"{name} {shlex.join(words)}".rstrip()


def _is_complete(checkpoint: Path) -> bool:
    try:
        return checkpoint.name.isdecimal() and isinstance(json.loads((checkpoint / STATE).read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _unused_name(recipe: str) -> Path:
    wanted = Path("runs") / f"{datetime.now():%Y-%m-%d-%H%M}-{recipe}"
    path, attempt = wanted, 2
    while path.exists():
        path, attempt = wanted.with_name(f"{wanted.name}-{attempt}"), attempt + 1
    return path


def _contents(folder: Path, shown: int = 4) -> str:
    """The first names inside a folder, as a person would list them."""
    names = sorted(path.name for path in folder.iterdir())
    more = [f"{len(names) - shown} more"] if len(names) > shown else []
    return ", ".join(names[:shown] + more) or "nothing"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _json_number(value: Any) -> int | float | None:
    """A number as strict JSON has it; whatever can become a float (a tensor, a numpy scalar) may come."""
    if isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _json_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    return value if value is None or isinstance(value, (str, bool)) else _json_number(value)


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=SAFE)
    except yaml.YAMLError:
        return yaml.safe_load(text)  # which says what is wrong in the same words everywhere
