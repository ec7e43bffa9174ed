"""The command line: which command was meant, and what its end means to the shell.

    main             argv -> exit status
    share_the_cores  threads that wait go to sleep
    outcome          an error -> exit status, after saying on stderr what a person needs

Exit status: 0 done; 1 our fault; 2 the user can mend it, said in one to four plain lines; 130 interrupted.
No traceback, unless `--debug` stands anywhere on the line.
"""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from rayformer import __version__
from rayformer.cli.commands import find_command, overview
from rayformer.cli.output import is_first_process, say
from rayformer.core.errors import UserError

OURS, USERS, INTERRUPTED = 1, 2, 130

REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
}
"""What a file system says no with, and only the person at the keyboard can change."""
FULL = {errno.ENOSPC, errno.EDQUOT}
"""These need no file name to be understood: `rayformer list > FILE` on a full disk has none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line. `rayformer` on the path and `python -m rayformer` both end here."""
    share_the_cores()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal of another alphabet gets a "?", not a crash
            stream.reconfigure(errors="replace")
    _hear_the_rooms()
    try:
        status = dispatch([word for word in words if word != "--debug"])
        if sys.stdout is not None:  # it is None where the shell closed it
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _drop_stdout()
        return 0
    except SystemExit as end:  # argparse, after printing the help it was asked for
        return int(end.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        return outcome(error, debug)


def share_the_cores() -> None:
    """Let a thread that waits for its fellows sleep soon, before torch starts any.

    By default GNU OpenMP spins for milliseconds at the end of every parallel loop. While any other program
    uses a core, the spinning thread holds up the one it waits for: a training step on two cores was measured
    5 times slower, and a rendered picture 12 times. A thousand turns still catch nearly every wait on an idle
    machine.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "1000"


def dispatch(words: Sequence[str]) -> int:
    if words[:1] == ["help"] and words[1:]:  # `rayformer help train nerf`
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"rayformer {__version__}")
        return 0
    return find_command(words[0]).run(words[1:])


def outcome(error: BaseException, debug: bool) -> int:
    """Say what happened on stderr; the exit status that tells the shell."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, UserError):
        say(f"error: {error}")
        return USERS
    if isinstance(error, OSError) and error.errno in REFUSALS and error.filename:
        say(f"error: {error.filename}: {error.strerror}")
        return USERS
    if isinstance(error, OSError) and error.errno in FULL:
        say(f"error: {error.strerror}; what was to be written is not whole.\nMake room, and start again.")
        _drop_stdout()
        return USERS
    if _is_want_of_memory(error):
        say(
            f"error: not enough memory: {str(error).partition(chr(10))[0]}\n"
            "Ask for less at once: smaller pictures (--size, --data.width), fewer views, a smaller model."
        )
        return USERS
    place = traceback.extract_tb(error.__traceback__)[-1]
    say(
        f"This is a fault in rayformer, not yours: {type(error).__name__}: {error}\n"
        f"It was met in {os.path.basename(place.filename)}, line {place.lineno}, {place.name}."
    )
    if not debug:
        say("The same command with --debug shows the whole traceback; please report both.")
    return OURS


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if is_first_process():
            say(f"- {record.getMessage()}")


def _hear_the_rooms() -> None:
    """What a lower layer has to say while it keeps a person waiting goes to stderr, as a remark."""
    log = logging.getLogger("rayformer")
    if not any(isinstance(handler, _Said) for handler in log.handlers):
        log.addHandler(_Said())
        log.setLevel(logging.INFO)


def _drop_stdout() -> None:
    """Let what is still to be printed go nowhere: the flush at exit must not meet the same fault again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_want_of_memory(error: BaseException) -> bool:
    """torch has a class of its own for it on GPUs, only a text elsewhere, and must not be imported here."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
