"""The vocabulary of a run, fitted before its first step and kept in RUN/assets/wordpiece.

kept_wordpiece    the one that the run has; else one that is named, comes with the weights, or is made
"""

from collections.abc import Callable
from pathlib import Path

from rayformer.data.text.wordpiece import FILES, WordPiece
from rayformer.engine.task import Setting

FOLDER = "wordpiece"


def kept_wordpiece(
    setting: Setting, named: str | None, make: Callable[[], WordPiece]
) -> tuple[WordPiece, str | None]:
    """The vocabulary, and what to say of where it is from. `named` is a file or folder that a person gave.
    Raises DataError where it cannot be read."""
    kept = setting.assets / FOLDER
    if (kept / FILES[0]).exists():
        return WordPiece.load(kept), None
    if named is not None:
        wordpiece, said = WordPiece.load(named), f"from {named}"
    elif (beside := beside_weights(setting.start)) is not None:
        wordpiece, said = WordPiece.load(beside), f"from {beside}, as the weights"
    else:
        wordpiece, said = make(), "learned from the text"
    wordpiece.save(kept)
    return wordpiece, f"a vocabulary of {len(wordpiece):,} pieces, {said}"


def beside_weights(start: str | None) -> Path | None:
    """The vocabulary that a run, or a folder of published weights, has beside them."""
    if start is None:
        return None
    path = Path(start)
    for folder in (path / "assets" / FOLDER, path, path.parent):
        if path.exists() and any((folder / name).exists() for name in FILES):
            return folder
    return None
