"""The report: a run folder in, one self-contained HTML page out.

    write_report    RUN/report.html, from whatever the folder holds so far
    Chapter         a run, or a stage of one, as the page shows it
    Fact            one line of a table
    Grid            a table of numbers
    flattened       a nested config by dotted names

The page needs nothing beside it: pictures and curves lie inside, there is no script, and a run that is
still going, or was killed, has a page that says what is missing. Its looks are in
`templates/report.html.j2`.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from rayformer.core.errors import RunError
from rayformer.report.curves import Series, chart
from rayformer.report.words import Quantity, duration, figure, quantity
from rayformer.runs.atomic import write_text
from rayformer.runs.run import STATE, Run

INLINED_VIDEO = 8_000_000
"""Bytes; a larger video is linked, lest the page become too heavy to send."""
KEPT_AS_PNG = 150_000
"""Bytes; a larger picture goes into the page as JPEG. The exact pixels stay in pictures/."""
NOT_LOSSES = {"train/rate", "train/learning_rate", "train/gradient_norm"}
"""Of the numbers logged in training, those that are no terms of the loss."""
NOT_FACTS = {"recipe", "config", "defaults", "data", "precision", "resumed", "versions"}
"""Of the manifest, what has its own place on the page."""


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    default: str | None = None
    """What the recipe has in its place, where that is something else."""


@dataclass(frozen=True)
class Grid:
    """Rows by name, those with the least in the first column first."""

    name: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Tile:
    """A headline number: "24.1" "dB" under "PSNR"."""

    what: str
    value: str
    unit: str


@dataclass(frozen=True)
class Curve:
    heading: str
    svg: str
    legend: Sequence[tuple[str, str]]
    """Name and last value of each series, in the order of their colours."""


@dataclass(frozen=True)
class Shown:
    """A picture in the page."""

    title: str
    caption: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Video:
    name: str
    source: str
    inlined: bool


@dataclass(frozen=True)
class Checkpoint:
    step: str
    remark: str


@dataclass(frozen=True)
class Chapter:
    """One run folder, read as far as it can be."""

    name: str
    state: str
    """Finished, or how far it is."""
    tiles: Sequence[Tile]
    remarks: Sequence[str]
    tables: Sequence[tuple[str, Sequence[Fact]]]
    """Results that are not one number each."""
    grids: Sequence[Grid]
    """Those that are numbers in rows and columns."""
    pictures: Sequence[tuple[str, Sequence[Shown]]]
    videos: Sequence[Video]
    curves: Sequence[Curve]
    facts: Sequence[Fact]
    """Time, rates, memory."""
    checkpoints: Sequence[Checkpoint]


def write_report(run_path: Path | str) -> Path:
    """Write RUN/report.html and return its path. Raises RunError where RUN is no run folder or cannot be
    written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # slow to import; only this needs it

    run = Run.open(run_path)
    manifest = run.manifest
    data = _mapping(manifest.get("data"))
    environment = Environment(
        loader=PackageLoader("rayformer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        recipe=str(manifest["recipe"]),
        source=_source_name(manifest),
        started=str(manifest.get("started", "")).replace("T", " ")[:16],
        run_name=run.path.resolve().name,
        whole=chapter(run),
        stages=[chapter(stage) for _, stage in run.stages()],
        setting=_setting(manifest),
        data=[
            Fact(name.replace("_", " "), value) for name, value in flattened(_without_remarks(data)).items()
        ],
        data_remarks=_remarks(data),
        config=_config(manifest),
        base="smoke size" if manifest.get("smoke") else "defaults",
    )
    path = run.path / "report.html"
    write_text(path, page)
    return path


def chapter(run: Run) -> Chapter:
    """Everything of one run folder that the page shows. What cannot be read becomes a remark."""
    remarks: list[str] = []
    metrics = _unless_broken(run.metrics, [], remarks)
    result = _unless_broken(run.result, None, remarks)
    pictures = _unless_broken(run.pictures, [], remarks)
    remarks += _remarks(result or {})
    series = series_of(metrics)
    return Chapter(
        name=run.path.resolve().name,
        state=_state(run, result, metrics),
        tiles=_tiles(_own(run, result or {})),
        remarks=remarks,
        tables=_tables(result or {}),
        grids=[_grid(name, rows) for name, rows in (result or {}).items() if _is_grid(rows)],
        pictures=_grouped(pictures, remarks),
        videos=[_video(path) for path in sorted(run.path.glob("*.mp4"))],
        curves=_curves(series),
        facts=_facts(series, result or {}),
        checkpoints=_checkpoints(run),
    )


def series_of(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Every logged number as a series over steps, in the order of first appearance; what is not finite is
    left out.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for line in metrics:
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)) and np.isfinite(value):
                points.setdefault(name, []).append((line["step"], value))
    return {name: Series(name, *np.array(pairs, dtype=np.float64).T) for name, pairs in points.items()}


def flattened(plain: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested dict by dotted names, its values as texts."""
    flat: dict[str, str] = {}
    for name, value in plain.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _spelled(value)
    return flat


# What came out


def _state(run: Run, result: Mapping[str, Any] | None, metrics: Sequence[Mapping[str, Any]]) -> str:
    if result is not None:
        return "finished"
    if stages := run.stages():
        done = sum((stage.path / "result.json").exists() for _, stage in stages)
        return f"{done} of {len(stages)} stages begun are finished"
    if metrics:
        return f"not finished: the last number logged is of step {figure(metrics[-1]['step'])}"
    return "nothing logged yet"


def _own(run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
    """Without the numbers of single stages, each of which has a chapter of its own."""
    stages = {name for name, _ in run.stages()}
    return {name: value for name, value in result.items() if name.split("/")[0] not in stages}


def _tiles(result: Mapping[str, Any]) -> list[Tile]:
    tiles = []
    for name, value in result.items():
        what = quantity(name)
        if name in ("steps", "train_s") or isinstance(value, (Mapping, list, str)):
            continue
        tiles.append(
            Tile(str(what), "not measured", "") if value is None else Tile(str(what), *_measured(what, value))
        )
    return tiles


def _measured(what: Quantity, value: float | int) -> tuple[str, str]:
    """The value as a figure, and its unit in words."""
    if what.unit == "s":
        return duration(value), ""
    return f"{value:.1f}" if what.unit == "dB" else figure(value, digits=3), what.unit


def _tables(result: Mapping[str, Any]) -> list[tuple[str, list[Fact]]]:
    return [
        (str(quantity(name)), [Fact(key, text) for key, text in flattened(value).items()])
        for name, value in result.items()
        if isinstance(value, Mapping) and not _is_grid(value)
    ]


def _is_grid(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(row, Mapping) for row in value.values())
    )


def _grid(name: str, rows: Mapping[str, Mapping[str, Any]]) -> Grid:
    columns = list(next(iter(rows.values())))

    def first(item: tuple[str, Mapping[str, Any]]) -> tuple[bool, float]:
        value = item[1].get(columns[0])
        return value is None, float(value or 0)

    return Grid(
        str(quantity(name)),
        [str(quantity(column)) for column in columns],
        [
            (row, ["" if (value := values.get(column)) is None else figure(value, 3) for column in columns])
            for row, values in sorted(rows.items(), key=first)
        ],
    )


def _curves(series: Mapping[str, Series]) -> list[Curve]:
    """One chart for the terms of the training loss, which share a unit, then one for each other series."""
    shown = [one for name, one in series.items() if name != "elapsed_s"]
    terms = [one for one in shown if one.name.startswith("train/") and one.name not in NOT_LOSSES]
    held_out = [one for one in shown if one.name.startswith("val/")]
    others = [one for one in shown if one not in terms + held_out]
    curves = [_drawn("Training loss", terms)] if terms else []
    return curves + [_drawn(quantity(one.name).heading, [one]) for one in held_out + others]


def _drawn(heading: str, series: Sequence[Series]) -> Curve:
    legend = [(quantity(one.name).title, figure(one.values[-1])) for one in series]
    speeds = quantity(series[0].name).unit == "per second"  # their slow first step is not worth a decade
    return Curve(heading, chart(series, heading, may_be_log=not speeds), legend)


def _grouped(pictures: Sequence[tuple[str, Path, str]], remarks: list[str]) -> list[tuple[str, list[Shown]]]:
    """Pictures by the part of their name before the slash, those without one first."""

    def group(picture: tuple[str, Path, str]) -> str:
        return picture[0].rpartition("/")[0]

    groups = []
    for name, members in groupby(sorted(pictures, key=group), key=group):
        shown = [_unless_broken(lambda member=member: _shown(*member), None, remarks) for member in members]
        groups.append((name, [one for one in shown if one]))
    return groups


def _shown(name: str, path: Path, caption: str) -> Shown:
    content, kind = path.read_bytes(), "png"
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if len(content) > KEPT_AS_PNG:
                smaller = io.BytesIO()
                image.convert("RGB").save(smaller, format="JPEG", quality=90, subsampling=0)
                if smaller.tell() < len(content):
                    content, kind = smaller.getvalue(), "jpeg"
    except OSError as error:
        raise RunError(f"{path.name} is not a picture that can be read, and is left out.") from error
    return Shown(name.rpartition("/")[2], caption, _data_uri(content, f"image/{kind}"), width, height)


def _video(path: Path) -> Video:
    inlined = path.stat().st_size < INLINED_VIDEO
    return Video(
        path.name, _data_uri(path.read_bytes(), "video/mp4") if inlined else quote(path.name), inlined
    )


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# What it took


def _facts(series: Mapping[str, Series], result: Mapping[str, Any]) -> list[Fact]:
    facts = []
    if "steps" in result:
        facts.append(Fact("steps", figure(result["steps"])))
    elapsed = result.get("train_s", series["elapsed_s"].values[-1] if "elapsed_s" in series else None)
    if elapsed is not None:
        facts.append(Fact("training time", duration(float(elapsed))))
    facts += [
        Fact(quantity(name).title + " per second", f"{figure(float(f'{median(one.values):.3g}'))} (median)")
        for name, one in series.items()
        if quantity(name).unit == "per second"
    ]
    if "peak_memory_gib" in series:
        facts.append(Fact("peak memory", f"{series['peak_memory_gib'].values.max():.2f} GiB"))
    return facts


def _checkpoints(run: Run) -> list[Checkpoint]:
    complete = run.checkpoints()
    best = json.loads((complete[-1][1] / STATE).read_bytes()).get("best_step") if complete else None
    kept = [Checkpoint(figure(step), "the best so far" if step == best else "") for step, _ in complete]
    return kept + [Checkpoint(path.name, "torn: passed over on resume") for path in run.torn_checkpoints()]


# What was asked for


def _setting(manifest: Mapping[str, Any]) -> list[Fact]:
    facts = [
        Fact(name.replace("_", " "), text)
        for name, text in flattened({k: v for k, v in manifest.items() if k not in NOT_FACTS}).items()
    ]
    precision = manifest.get("precision")
    if isinstance(precision, Mapping):
        facts.append(Fact("precision", ": ".join(_spelled(part) for part in precision.values())))
    elif precision is not None:
        facts.append(Fact("precision", _spelled(precision)))
    versions = _mapping(manifest.get("versions"))
    if versions:
        facts.append(Fact("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    facts += [
        Fact(
            "went on",
            ", ".join(f"{k} {_spelled(v)}" for k, v in _mapping(note).items() if k in ("step", "when")),
        )
        for note in manifest.get("resumed", [])
    ]
    return facts


def _config(manifest: Mapping[str, Any]) -> list[Fact]:
    config, defaults = (flattened(_mapping(manifest.get(name))) for name in ("config", "defaults"))
    return [
        Fact(
            name, value, defaults.get(name, "not there") if defaults and defaults.get(name) != value else None
        )
        for name, value in config.items()
    ]


def _remarks(holder: Mapping[str, Any]) -> list[str]:
    remarks = holder.get("remarks") or []
    return [remarks] if isinstance(remarks, str) else [str(remark) for remark in remarks]


def _without_remarks(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "remarks"}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _source_name(manifest: Mapping[str, Any]) -> str:
    """What a person calls the data: `/data/nerf_fox/` is `nerf_fox`, and a drawn scene has its own name."""
    asked = _mapping(_mapping(manifest.get("config")).get("data")).get("source")
    found = asked or _mapping(manifest.get("data")).get("source")
    return str(found or "").rstrip("/").rpartition("/")[2]


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(_spelled, value)) if isinstance(value, (list, tuple)) else str(value)


def _unless_broken(read, otherwise, remarks: list[str]):
    """What `read` returns, or `otherwise` with the reason among the remarks: a report never fails on a
    harmed file.
    """
    try:
        return read()
    except RunError as error:
        remarks.append(str(error))
        return otherwise
