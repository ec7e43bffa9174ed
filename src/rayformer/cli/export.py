"""`rayformer export`: the model of a run in a format that other programs read.

run         which format, with which options of its own, where to
_explain    `export --help`: the formats of a run, or the options of one of them
_place      where it goes: what --out names, which must not be there, or a name in the run
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rayformer.cli.abilities import able_run, open_able
from rayformer.cli.options import Options, add_device, add_json
from rayformer.cli.output import columns, give, number_lines
from rayformer.cli.recipe_options import add_fields, configure
from rayformer.core.errors import ConfigError, did_you_mean
from rayformer.recipes.index import ENTRIES, load

if TYPE_CHECKING:
    from rayformer.engine.task import Export


def run(words: Sequence[str], usage: str) -> int:
    if {"-h", "--help"} & set(words):
        return _explain(words, usage)
    options = _options(usage)
    path, words = _run_first(words)
    values, own = options.parse_known_args(words)
    if path is None:
        raise ConfigError(f"{options.command} needs a run folder as its first word.\nusage: {usage}")
    formats = _formats(path)
    if values.to is None:
        raise ConfigError(f"{options.command} needs --to FORMAT, one of {', '.join(formats)}.")
    export = _format(values.to, formats, path)
    config = configure(export.options, own, f"{options.command} RUN --to {values.to}", options.helps())
    out = _place(values.out, path, export)

    loaded = open_able(path, "export", values.device)
    numbers = export.write(loaded, config, out)
    give({"path": out, **numbers}, values.json, number_lines({"path": out, **numbers}))
    return 0


def _options(usage: str) -> Options:
    options = Options(
        usage, "The model of a run in a format that other programs read.", help_action="store_true"
    )
    options.add_argument("--to", metavar="FORMAT", help="safetensors, or another that the recipe offers")
    options.add_argument(
        "--out",
        metavar="PATH",
        type=Path,
        help="a file, or for some formats a folder, that is not there yet "
        "(default: RUN/export/NAME, made anew)",
    )
    add_device(options)
    add_json(options)
    return options


def _run_first(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run folder, if the line starts with one, and the rest. Elsewhere it would be the value of an
    option."""
    if words and not words[0].startswith("-"):
        return Path(words[0]), list(words[1:])
    return None, list(words)


def _formats(path: Path) -> Mapping[str, "Export"]:
    """What the run at `path` can be exported to. Raises RunError, before any torch, if it is nothing."""
    return load(str(able_run(path, "export").manifest["recipe"])).exports


def _format(name: str, formats: Mapping[str, "Export"], path: Path) -> "Export":
    if name not in formats:
        raise ConfigError(
            f"--to {name}: {path} is not exported to that.{did_you_mean(name, formats)}\n"
            f"Its formats are {', '.join(formats)}."
        )
    return formats[name]


def _place(out: Path | None, run: Path, export: "Export") -> Path:
    """Raises ConfigError where --out has another suffix than the format, or names what is there."""
    usual = export.suffixes[0] if export.suffixes else ""
    if out is None:
        return run / "export" / f"{export.name}{usual}"
    if export.suffixes and out.suffix.lower() not in export.suffixes:
        raise ConfigError(
            f"--out {out} must end in {' or '.join(export.suffixes)}, which says the form, "
            + (f"but ends in {out.suffix}." if out.suffix else "but has no such ending.")
        )
    if out.is_file() or out.is_symlink() or (out.is_dir() and (export.suffixes or any(out.iterdir()))):
        raise ConfigError(f"--out {out} exists, and is not written over.\nRemove it, or give another --out.")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):  # said before minutes of work, not after
        fault = "a folder that cannot be written in" if above.is_dir() else "a file, not a folder"
        raise ConfigError(f"--out {out}: {above} is {fault}.\nGive another --out.")
    return out


def _explain(words: Sequence[str], usage: str) -> int:
    """`export --help`; with a run, its formats; with a run and a format, the options of that format."""
    options = _options(usage)
    path, words = _run_first(words)
    values, _ = options.parse_known_args([word for word in words if word not in ("-h", "--help")])
    if path is None:
        able = ", ".join(entry.name for entry in ENTRIES if "export" in entry.abilities)
        options.epilog = (
            "`rayformer export RUN --help` shows the formats of a run, and with --to FORMAT the options of "
            f"one. Recipes whose runs are exported: {able}."
        )
        options.print_help()
        return 0
    formats = _formats(path)
    if values.to is not None:
        export = _format(values.to, formats, path)
        options.description = f"--to {values.to}: {export.does}."
        if export.suffixes:
            options.description += f" The file ends in {' or '.join(export.suffixes)}."
        add_fields(options, export.options, title=values.to)
        options.print_help()
        return 0
    options.print_help()
    print(f"\nformats of {path}:\n" + columns([[f"  {name}", one.does] for name, one in formats.items()]))
    return 0
