"""Coloured points as a PLY file, which every viewer of point clouds opens.

write_points   places and colours, binary
read_points    the way back; also from files of other programs, in text or binary
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.core.errors import DataError
from rayformer.runs.atomic import write_bytes

NUMBERS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
"""The format's names of numbers, old and new."""
ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
PLACE, COLOUR = ("x", "y", "z"), ("red", "green", "blue")
POINT = np.dtype([*((axis, "<f4") for axis in PLACE), *((name, "u1") for name in COLOUR)])
HEAD = """ply
format binary_little_endian 1.0
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def write_points(
    path: Path, points: Float[np.ndarray, "points 3"], colours: UInt8[np.ndarray, "points 3"] | None
) -> None:
    """Write the points, in float32; grey where there are no colours. Raises RunError where the disk
    refuses."""
    rows = np.zeros(len(points), POINT)
    for column, axis in enumerate(PLACE):
        rows[axis] = points[:, column]
    for column, name in enumerate(COLOUR):
        rows[name] = 128 if colours is None else colours[:, column]
    write_bytes(path, HEAD.format(count=len(points)).encode() + rows.tobytes())


def read_points(
    path: Path,
) -> tuple[Float[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"] | None]:
    """Places and, where the file has them as bytes, colours. Raises DataError for what is torn or no PLY."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    head, ended, body = content.partition(b"end_header\n")
    lines = [line.split() for line in head.decode(errors="replace").splitlines()]
    try:
        if not ended or lines[0] != ["ply"]:
            raise ValueError("its head is missing")
        form, count, kind = _described(lines)
        if form == "ascii":
            text = [tuple(line.split()) for line in body.decode().splitlines()[:count]]
            rows = np.array(text, kind) if text else np.zeros(0, kind)
        else:
            rows = np.frombuffer(body, kind, count)
        if len(rows) < count:
            raise ValueError(f"{count} points are promised, {len(rows)} are there")
        points = np.stack([rows[axis].astype(np.float64) for axis in PLACE], axis=-1)
        coloured = all(name in (kind.names or ()) and kind[name] == np.uint8 for name in COLOUR)
        return points, np.stack([rows[name] for name in COLOUR], axis=-1) if coloured else None
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: torn or not a PLY file of points ({error})") from error


def _described(lines: list[list[str]]) -> tuple[str, int, np.dtype]:
    """Form, count of points and layout of one, from the lines of the head."""
    form, count, fields, inside = "", None, [], False
    for word, *rest in filter(None, lines[1:]):
        if word == "format":
            form = rest[0]
        elif word == "element":
            if count is None and rest[0] != "vertex":
                raise ValueError(f"its first element is {rest[0]}, not vertex")
            inside = count is None
            count = int(rest[1]) if inside else count
        elif word == "property" and inside:
            if rest[0] not in NUMBERS:
                raise ValueError(f"numbers of the unknown kind {rest[0]}")
            fields.append((rest[1], ORDERS[form] + NUMBERS[rest[0]]))
    if form not in ORDERS or count is None:
        raise ValueError("its head has no known format or no points")
    return form, count, np.dtype(fields)
