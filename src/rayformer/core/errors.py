"""Every error that a person can mend, and nothing else.

    RayformerError      anything this package raises on purpose
      UserError         the user can mend it: exit status 2, no traceback
        ConfigError     a field or option breaks a rule
        DataError       a file or folder is not what it should be
        RunError        a run folder is missing, torn, taken, or of another recipe
        ShapeError      an array has the wrong axes
        MissingExtra    an optional package is needed and absent
        Diverged        the loss or its gradient became NaN or infinite

A text says, in one to four lines: what is wrong, where, the rule, what came instead, and what to do.
"""

import difflib
from collections.abc import Iterable


class RayformerError(Exception):
    """The root of everything this package raises on purpose."""


class UserError(RayformerError):
    """The user can mend it. The command line prints the text without a traceback and exits with 2."""


class ConfigError(UserError):
    """A config field or a command-line option breaks a rule; the text names it by its dotted name."""


class DataError(UserError):
    """A file or folder is not what it should be; the text names it."""


class RunError(UserError):
    """A run folder is missing, torn, already taken, or belongs to another recipe."""


class ShapeError(UserError):
    """An array has the wrong axes; the text gives the axes wanted and those that came."""


class Diverged(UserError):
    """Training met a NaN or an infinity; the text names the step, the term and the last good checkpoint."""


class MissingExtra(UserError):
    """An optional dependency is needed. `extra` is the name behind `pip install 'rayformer[extra]'`."""

    def __init__(self, extra: str, need: str):
        super().__init__(f"{need} needs an optional package; install it: pip install 'rayformer[{extra}]'")
        self.extra = extra


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " Did you mean 'x'?" with the nearest of `known`, or an empty text where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
