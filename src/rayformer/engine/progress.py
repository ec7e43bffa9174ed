"""What a person sees while a model trains: one live line with rate and time left, and remarks above it.

Everything goes to stderr, so that stdout stays clean for `--json`.
"""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Watch:
    """A progress line on a terminal; plain lines, now and then, where stderr is a file; nothing for the
    other ranks."""

    def __init__(self, title: str, steps: int, start: int = 0, shown: bool = True):
        self.console = Console(stderr=True, quiet=not shown, highlight=False)
        self._live = shown and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
            console=self.console, disable=not self._live, transient=False,
        )  # fmt: skip
        self._task = self._progress.add_task(title, total=steps, completed=start, note="")
        self._title, self._steps, self._said = title, steps, -1.0

    def __enter__(self) -> "Watch":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def moved(self, step: int, share: float, note: str | None = None) -> None:
        """`share` of the training is over: by steps, or by the clock where that is ahead."""
        total = step / share if share > 0 else self._steps
        if self._live:
            self._progress.update(self._task, completed=step, total=max(round(total), step))
            if note is not None:
                self._progress.update(self._task, note=note)
        elif note is not None and (share - self._said >= 0.1 or share >= 1):
            self._said = share
            self.say(f"{self._title}: step {step} ({share:.0%})  {note}")
