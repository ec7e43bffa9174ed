"""The fixed options of a command, refused in our words: the option, the rule, what came, what to do.

Options          argparse without its habits: no abbreviations, no usage block around an error
an_option        one option, as its help text shows it
unknown_option   the error for an option nobody knows, with the nearest one and its help
picture_size     WxH -> (width, height)
"""

import argparse
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NoReturn

from rayformer.core.errors import ConfigError


class Options(argparse.ArgumentParser):
    def __init__(self, usage: str, does: str, help_action: str = "help"):
        super().__init__(
            usage=usage, description=does, allow_abbrev=False, add_help=False, formatter_class=_Aligned
        )
        self.add_argument("-h", "--help", action=help_action, help="show this text")
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    @property
    def command(self) -> str:
        """The command as typed, without what stands behind it: `rayformer eval`."""
        return " ".join(str(self.usage).split()[:2])

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of all options. Raises ConfigError for anything unknown or unreadable."""
        values, rest = self.parse_known_args(list(words))
        if rest:
            self.refuse(rest[0])
        return values

    def refuse(self, word: str) -> NoReturn:
        """Raise the ConfigError for a word that nothing takes."""
        if word.startswith("-"):
            raise unknown_option(word.partition("=")[0], self.helps(), self.command)
        raise ConfigError(f"{self.command} does not know what to do with {word!r}.\nusage: {self.usage}")

    def helps(self) -> dict[str, str]:
        """Every option with its help text."""
        return {
            name: action.help or ""
            for action in self._actions
            for name in action.option_strings
            if name.startswith("--")
        }

    def error(self, message: str) -> NoReturn:
        name, of_an_option, rule = message.removeprefix("argument ").partition(": ")
        if name == "the following arguments are required":
            raise ConfigError(f"{self.command} needs {rule}.\nusage: {self.usage}")
        rule = f"{name} {rule}" if of_an_option else name
        rule = re.sub("expected (one|at least one) argument", "needs a value", rule)
        raise ConfigError(f"{self.command}: {rule}\nusage: {self.usage}")


class _Aligned(argparse.HelpFormatter):
    """Help texts in one column, far enough to the right for most options, and no word broken at its dash:
    `warm-up` and `runs/DATE-TIME-RECIPE` stay whole."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.fill(
            " ".join(text.split()),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        )


def an_option(name: str, help: str) -> str:
    """An option as an error shows it: on a line of its own, indented."""
    return f"  {name}: {help}"


def unknown_option(name: str, known: Mapping[str, str], command: str) -> ConfigError:
    """The error for an option nobody knows; `known` maps every option, dashes included, to its help text."""
    near = nearest_option(name, known)
    meant = f" Did you mean {near}?\n{an_option(near, known[near])}" if near else ""
    return ConfigError(
        f"{name} is not an option of `{command}`.{meant}\n`{command} --help` explains every option."
    )


def nearest_option(name: str, known: Iterable[str]) -> str | None:
    """The option most like `name`, whole or by its last part (`--steps`: `--plan.steps`); None if none is."""
    bare = name.strip("-")

    def likeness(option: str) -> float:
        whole = option.strip("-")
        return max(SequenceMatcher(a=bare, b=part).ratio() for part in (whole, whole.rpartition(".")[2]))

    best = max(known, key=likeness, default=None)
    return best if best and likeness(best) >= 0.6 else None


def add_json(options: Options) -> None:
    options.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout and nothing else"
    )


def add_device(options: Options) -> None:
    options.add_argument(
        "--device",
        metavar="auto|cpu|cuda|mps",
        default="auto",
        help="where to compute; auto takes the fastest there is (default: auto)",
    )


def picture_size(text: str) -> tuple[int, int]:
    """`640x480` as (width, height), in pixels."""
    width, by, height = text.lower().partition("x")
    if not (by and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(
            f"must be WIDTHxHEIGHT in pixels, for instance 640x480, but is {text!r}"
        )
    return int(width), int(height)


def at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but is {text!r}")
    return int(text)


def above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, but is {text!r}")
    return number


def whole_number(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, but is {text!r}")
    return int(text)
