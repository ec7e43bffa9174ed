"""Meshes that are sound, meshes that are not, and files that are none."""

import math

import numpy as np
import pytest
import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.shapes.knot import GROOVE, THICK, rope_knot
from rayformer.data.shapes.read import read_shape
from rayformer.data.shapes.shape import ShapeConfig
from rayformer.geometry.mesh import Mesh
from tests.geometry.solids import ball, box, box_distance, together

trimesh = pytest.importorskip("trimesh")


def written(path, mesh: Mesh):
    trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).export(path)
    return path


def read(path, **options):
    return read_shape(ShapeConfig(source=str(path), **options))


def places(count=2000):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "glb", "off"])
def test_every_format_gives_the_same_shape(suffix, tmp_path):
    """STL stores each triangle by itself, and small numbers are rounded: the box has neither left."""
    shape = read(written(tmp_path / f"thing.{suffix}", box((0, 0, 0), (2, 1, 4))))
    assert (shape.closed, shape.format, shape.remarks) == (True, suffix, ())
    assert (len(shape.mesh.vertices), len(shape.mesh.faces)) == (8, 12)
    assert shape.mesh.volume == pytest.approx(8 * 0.4**3)


def test_the_longest_side_fills_its_share_and_the_way_back_is_exact(tmp_path):
    mesh = box((10, 0, -3), (12, 1, 1))
    shape = read(written(tmp_path / "a.ply", mesh), fill=0.5)
    assert shape.mesh.vertices.abs().amax(dim=0).tolist() == pytest.approx([0.25, 0.125, 0.5])
    back = shape.mesh.moved(shape.frame.inverse())
    assert sorted(map(tuple, back.vertices.round(decimals=5).tolist())) == sorted(
        map(tuple, mesh.vertices.tolist())
    )


def test_the_distance_to_a_box_is_the_closed_form_inside_and_outside(tmp_path):
    shape = read(written(tmp_path / "a.ply", box()), fill=0.5)
    torch.testing.assert_close(shape.signed_distance(places()), box_distance(places()))


def test_the_distance_to_a_ball_is_that_to_its_sphere_but_for_its_facets(tmp_path):
    shape = read(written(tmp_path / "a.ply", ball(rings=48)), fill=0.5)
    off = shape.signed_distance(places()) - (places().norm(dim=1) - 0.5)
    assert off.abs().max() < 1e-3


def test_a_mesh_that_faces_inward_is_turned_round_and_said(tmp_path):
    mesh = box()
    shape = read(written(tmp_path / "a.ply", Mesh(mesh.vertices, mesh.faces.flip(1))))
    assert shape.mesh.volume > 0
    assert "faced inward" in shape.remarks[0]


def test_triangles_that_face_either_way_are_turned_alike_and_said(tmp_path):
    mesh = box()
    faces = mesh.faces.clone()
    faces[:5] = faces[:5].flip(1)
    shape = read(written(tmp_path / "a.ply", Mesh(mesh.vertices, faces)), fill=0.5)
    assert shape.closed
    assert "face alike" in shape.remarks[0]
    torch.testing.assert_close(shape.signed_distance(places()), box_distance(places()))


def test_a_cube_without_a_face_trains_with_half_round_as_inside_or_is_refused(tmp_path, snapshot):
    mesh = box()
    path = written(tmp_path / "lidless.ply", Mesh(mesh.vertices, mesh.faces[2:]))
    shape = read(path, fill=0.5)
    assert not shape.closed
    (remark,) = shape.remarks
    snapshot("open_remark", remark)
    clear = (places().abs().amax(dim=1) - 0.5).abs() > 0.15  # the lid of a hole bulges
    same = shape.inside(places()) == (places().abs().amax(dim=1) < 0.5)
    assert same[clear].all()
    with pytest.raises(DataError) as refusal:
        read(path, open="refuse")
    snapshot("open_refused", str(refusal.value))


def test_what_passes_through_itself_is_said_and_what_is_buried_is_no_surface(tmp_path, snapshot):
    pair = together(ball(0.5, rings=12), ball(0.5, (0.5, 0.01, 0.02), rings=12))
    path = written(tmp_path / "pair.ply", pair)
    shape = read(path)
    snapshot("crossed_remarks", "\n".join(shape.remarks))
    assert 0 < len(shape.buried.faces) < len(shape.mesh.faces)
    centres = shape.frame.points(torch.tensor([[0.0, 0, 0], [0.5, 0.01, 0.02], [0.25, 0.005, 0.01]]).double())
    assert shape.inside(centres).all()
    # Between the centres both surfaces are far away, but for what is buried.
    assert shape.signed_distance(centres)[2] < -0.2
    with pytest.raises(DataError) as refusal:
        read(path, open="refuse")
    snapshot("crossed_refused", str(refusal.value))


def test_a_ball_in_a_ball_is_nothing_more_and_a_hollow_in_one_stays_hollow(tmp_path):
    outer, inner = ball(0.5, rings=8), ball(0.25, rings=8)
    solid = read(written(tmp_path / "solid.ply", together(outer, inner)))
    hollow = read(
        written(tmp_path / "hollow.ply", together(outer, Mesh(inner.vertices, inner.faces.flip(1))))
    )
    middle = torch.zeros(1, 3, dtype=torch.float64)
    assert (len(solid.buried.faces), len(hollow.buried.faces)) == (len(inner.faces), 0)
    assert solid.inside(middle).all()
    assert not hollow.inside(middle).any()
    assert float(solid.signed_distance(middle)) == pytest.approx(-0.8, abs=0.03)
    assert float(hollow.signed_distance(middle)) == pytest.approx(0.4, abs=0.02)


def test_flat_and_double_triangles_are_counted_and_dropped(tmp_path, snapshot):
    mesh = box()
    more = torch.tensor([[0, 1, 1], [2, 2, 2], [0, 1, 3]])
    shape = read(written(tmp_path / "a.ply", Mesh(mesh.vertices, torch.cat([mesh.faces, more]))))
    snapshot("degenerate_remarks", "\n".join(shape.remarks))
    assert (len(shape.mesh.faces), shape.closed) == (12, True)


def flat_sheet(folder):
    return written(folder / "sheet.obj", Mesh(box().vertices, box().faces[:2]))


def only_degenerate(folder):
    return written(folder / "line.ply", Mesh(box().vertices, torch.tensor([[0, 1, 1], [2, 3, 3]])))


def empty(folder):
    (folder / "empty.obj").write_text("# nothing here\n")
    return folder / "empty.obj"


def cloud(folder):
    trimesh.PointCloud(np.random.default_rng(0).normal(size=(50, 3))).export(folder / "cloud.ply")
    return folder / "cloud.ply"


def no_mesh(folder):
    (folder / "poem.ply").write_text("Shall I compare thee to a summer's day?\n")
    return folder / "poem.ply"


def other_suffix(folder):
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    return folder / "photo.jpg"


def two_meshes(folder):
    written(folder / "one.ply", box())
    written(folder / "two.obj", box())
    return folder


def no_meshes(folder):
    (folder / "readme.txt").write_text("no mesh")
    return folder


def not_a_number(folder):
    (folder / "nan.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 nan 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n")
    return folder / "nan.obj"


def missing(folder):
    return folder / "nowhere.obj"


BAD = [flat_sheet, only_degenerate, empty, cloud, no_mesh, other_suffix, two_meshes, no_meshes, not_a_number]


@pytest.mark.parametrize("made", [*BAD, missing], ids=lambda made: made.__name__)
def test_what_is_no_mesh_with_an_inside_is_refused_in_words(made, tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        read(made(tmp_path))
    text = str(refusal.value)
    assert 1 <= len(text.splitlines()) <= 4
    snapshot(f"bad_{made.__name__}", text)


def test_a_folder_with_one_mesh_is_that_mesh(tmp_path):
    written(tmp_path / "only.off", box())
    (tmp_path / "notes.txt").write_text("about it")
    assert read(tmp_path).format == "off"


def test_other_triangles_have_another_fingerprint(tmp_path):
    one = read(written(tmp_path / "a.ply", box()))
    same = read(written(tmp_path / "b.obj", box()))
    other = read(written(tmp_path / "c.ply", box(high=(0.5, 0.5, 0.6))))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_too_little_room_is_refused(snapshot):
    with pytest.raises(ConfigError) as refusal:
        ShapeConfig(fill=1.0)
    snapshot("fill", str(refusal.value))


def test_the_knot_is_closed_touches_itself_nowhere_and_has_the_volume_of_a_rope_of_its_length():
    """Pappus: the rope's section is balanced about its middle line, so its volume is section times length."""
    shape = read_shape(ShapeConfig())
    assert shape.closed
    assert shape.remarks == ()
    # The mean of (a + b |cos|)^2 is a^2 + 4 a b / pi + b^2 / 2.
    section = math.pi * (THICK**2 + 4 * THICK * GROOVE / math.pi + GROOVE**2 / 2)
    t = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    ring = 2 + (3 * t).cos()
    line = torch.stack([ring * (2 * t).cos(), (3 * t).sin(), ring * (2 * t).sin()], dim=-1)
    length = float(line.diff(dim=0).norm(dim=1).sum())
    assert rope_knot(900, 60).volume == pytest.approx(section * length, rel=0.01)
