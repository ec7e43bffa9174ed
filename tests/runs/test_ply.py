"""Points survive the file, and files of other programs are understood."""

import struct

import numpy as np
import pytest

from rayformer.core.errors import DataError
from rayformer.runs.ply import read_points, write_points

DRAW = np.random.default_rng(0)
POINTS = DRAW.normal(size=(7, 3)).astype(np.float32).astype(np.float64)
COLOURS = DRAW.integers(0, 256, (7, 3), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_points_come_back_as_they_were_written(count, tmp_path):
    write_points(tmp_path / "p.ply", POINTS[:count], COLOURS[:count])
    points, colours = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(points, POINTS[:count])
    np.testing.assert_array_equal(colours, COLOURS[:count])


def test_points_without_colours_are_grey(tmp_path):
    write_points(tmp_path / "p.ply", POINTS, None)
    assert (read_points(tmp_path / "p.ply")[1] == 128).all()


def test_text_with_other_properties_between_is_read(tmp_path):
    (tmp_path / "p.ply").write_text(
        "ply\nformat ascii 1.0\ncomment by hand\nelement vertex 2\nproperty double x\nproperty double y\n"
        "property float nx\nproperty double z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "1 2 0.5 3 10 20 30\n4 5 0.5 6 40 50 60\n3 0 1 0\n"
    )
    points, colours = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(colours, [[10, 20, 30], [40, 50, 60]])


def test_doubles_with_the_large_end_first_and_no_colours_are_read(tmp_path):
    axes = b"".join(b"property double %c\n" % axis for axis in b"xyz")
    head = b"ply\nformat binary_big_endian 1.0\nelement vertex 1\n" + axes + b"end_header\n"
    (tmp_path / "p.ply").write_bytes(head + struct.pack(">3d", 0.1, 0.2, 0.3))
    points, colours = read_points(tmp_path / "p.ply")
    np.testing.assert_array_equal(points, [[0.1, 0.2, 0.3]])
    assert colours is None


@pytest.mark.parametrize("fault", ["torn", "no_head", "no_vertices", "unknown_number"])
def test_what_is_no_points_file_is_refused(fault, tmp_path, snapshot):
    path = tmp_path / "p.ply"
    write_points(path, POINTS, COLOURS)
    content = path.read_bytes()
    path.write_bytes(
        {
            "torn": content[:-5],
            "no_head": content[10:],
            "no_vertices": content.replace(b"vertex", b"corner"),
            "unknown_number": content.replace(b"float x", b"half x"),
        }[fault]
    )
    with pytest.raises(DataError) as caught:
        read_points(path)
    snapshot(fault, str(caught.value))
