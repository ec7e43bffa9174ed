"""Every command by name: one line of help, and the module that runs it, imported only when it is asked for.

A new command is a module with `run(words, usage) -> exit status`, and one entry here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from rayformer import __version__
from rayformer.cli.output import columns
from rayformer.core.errors import ConfigError, did_you_mean
from rayformer.recipes.index import ENTRIES


@dataclass(frozen=True, kw_only=True)
class Command:
    name: str
    takes: str
    """What stands behind the name on the command line."""
    does: str
    module: str
    ability: str | None = None
    """What a recipe must be able to for a run of it to take this command; offered once a recipe can."""

    @property
    def usage(self) -> str:
        return f"rayformer {self.name} {self.takes}".rstrip()

    def run(self, words: Sequence[str]) -> int:
        return import_module(self.module).run(words, self.usage)


COMMANDS = (
    Command(
        name="list",
        takes="[--json]",
        does="every recipe: system, paper, what it takes, what it gives",
        module="rayformer.cli.list_recipes",
    ),
    Command(
        name="train",
        takes="RECIPE [--data SOURCE] [--out RUN] [--smoke] [--FIELD VALUE ...]",
        does="train a recipe into a run folder; `train RECIPE --help` explains every field",
        module="rayformer.cli.train",
    ),
    Command(
        name="eval",
        takes="RUN [--data SOURCE] [--json]",
        does="measure a run on its held-out data, or on other data",
        module="rayformer.cli.evaluate",
    ),
    Command(
        name="predict",
        takes="RUN INPUT ... [--out DIR] [--json]",
        does="what the model says of new input",
        module="rayformer.cli.predict",
        ability="predict",
    ),
    Command(
        name="render",
        takes="RUN [--path orbit|spiral|along|test|FILE.json] [--size WxH] [--out FILE.mp4]",
        does="a flight through a scene, in colour and depth, as MP4 or PNGs",
        module="rayformer.cli.render",
        ability="render",
    ),
    Command(
        name="view",
        takes="RUN [--host ADDRESS] [--port N]",
        does="fly through a trained scene in the browser; save camera paths and snapshots",
        module="rayformer.cli.view",
        ability="view",
    ),
    Command(
        name="report",
        takes="RUN",
        does="one self-contained HTML page about a run",
        module="rayformer.cli.report",
    ),
    Command(
        name="export",
        takes="RUN --to FORMAT [--out PATH]",
        does="the model in a format that other programs read",
        module="rayformer.cli.export",
        ability="export",
    ),
    Command(
        name="scene",
        takes="PHOTOS_OR_VIDEO --out DIR",
        does="cameras for photos or a video, by structure from motion, as transforms.json",
        module="rayformer.cli.scene",
    ),
    Command(
        name="reproduce",
        takes="[CLAIM] [--smoke] [--json]",
        does="a claim of a paper, run anew: a table, a picture, a verdict",
        module="rayformer.cli.reproduce",
    ),
    Command(
        name="doctor",
        takes="[--json]",
        does="device, precision, threads, memory, extras, versions, a short speed check",
        module="rayformer.cli.doctor",
    ),
)


def offered() -> list[Command]:
    """The commands that some run can answer to."""
    able = {ability for entry in ENTRIES for ability in entry.abilities}
    return [command for command in COMMANDS if command.ability is None or command.ability in able]


def find_command(name: str) -> Command:
    """The command called `name`. Raises ConfigError with the nearest one."""
    known = {command.name: command for command in offered()}
    if name not in known and any(command.name == name for command in COMMANDS):
        raise ConfigError(
            f"no recipe of this version can {name}, so there is nothing for `rayformer {name}` to do.\n"
            f"The commands are {', '.join(known)}; `rayformer list` shows the recipes."
        )
    if name not in known:
        raise ConfigError(
            f"there is no command {name!r}.{did_you_mean(name, known)}\n"
            f"The commands are {', '.join(known)}; `rayformer --help` says what they do."
        )
    return known[name]


def overview() -> str:
    """What `rayformer --help` prints."""
    lines = columns([["  " + command.name, command.does] for command in offered()])
    return f"""\
rayformer {__version__}: neural fields and transformers, one package, one command line

usage: rayformer COMMAND ...

{lines}

`rayformer COMMAND --help` explains a command. --version gives the version, --debug shows tracebacks.
A first run that needs no data: rayformer train ngp --data demo --smoke"""
