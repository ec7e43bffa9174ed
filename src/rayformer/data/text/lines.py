"""A text file as its lines: UTF-8 or refused, with the line that is not.

read_lines    of a file, whatever its line ends
lines_of      of bytes that were read already, from an archive for instance
"""

from pathlib import Path

from rayformer.core.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file without their ends; a byte-order mark at its beginning is no part of it, and
    an end after the last line begins no other. Only \\n, \\r\\n and \\r end a line: sentences may hold rarer
    separators.

    Raises DataError for what is no file, cannot be read, or is not UTF-8 (or whatever `encoding` names),
    naming the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return lines_of(content, str(path), encoding)


def lines_of(content: bytes, where: str, encoding: str = "utf-8", advice: str | None = None) -> list[str]:
    """The same of bytes; `where` is what an error calls them, `advice` what it says to do."""
    content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        number, place = 1 + before.count(b"\n"), len(before) - before.rfind(b"\n")
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise DataError(
            f"{where}:{number}: not {name}: byte 0x{content[error.start]:02x} at place {place} of the line.\n"
            + (
                advice
                or f"Text is read as {name}. Convert it, for instance: "
                f"iconv -f latin1 -t utf-8 {Path(where).name} > new"
            )
        ) from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
