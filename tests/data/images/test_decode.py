"""Pictures of every kind come out as a person sees them, or are refused in words."""

import io
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from rayformer.core.errors import DataError, MissingExtra
from rayformer.data.images.decode import ORIENTATION, decode, opened, orientation, upright_size


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def written(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(source) -> np.ndarray:
    picture = decode(source)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


# ---------------------------------------------------------------- kinds of pixels


def test_a_path_a_text_and_the_bytes_give_the_same_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(written(Image.fromarray(noise(5, 7, 3)), "PNG"))
    for source in (path, str(path), path.read_bytes(), noise(5, 7, 3)):
        np.testing.assert_array_equal(pixels(source), noise(5, 7, 3))
    np.testing.assert_array_equal(pixels(noise(5, 7, 1)), np.repeat(noise(5, 7, 1), 3, axis=2))


def test_sixteen_bits_of_grey_keep_their_high_byte():
    deep = np.random.default_rng(0).integers(0, 2**16, (6, 8), np.uint16)
    for kind in ("PNG", "TIFF"):
        wanted = np.repeat((deep >> 8)[..., None], 3, axis=2)
        np.testing.assert_array_equal(pixels(written(Image.fromarray(deep), kind)), wanted)


def test_palettes_are_looked_up():
    picture = Image.fromarray(noise(4, 4, 3)).quantize(16)
    np.testing.assert_array_equal(pixels(written(picture, "PNG")), np.asarray(picture.convert("RGB")))


def test_one_bit_is_black_or_white():
    bits = noise(6, 6) > 127
    np.testing.assert_array_equal(pixels(written(Image.fromarray(bits), "PNG"))[..., 1], bits * 255)


def test_cmyk_is_mixed_from_white_downwards():
    inks = np.zeros((2, 3, 4), np.uint8)
    inks[0, 0] = (255, 0, 0, 0)  # cyan takes red away
    inks[0, 1] = (0, 0, 0, 255)
    found = pixels(written(Image.fromarray(inks, "CMYK"), "TIFF"))
    assert found[0, 0].tolist() == [0, 255, 255]
    assert found[0, 1].tolist() == [0, 0, 0]
    assert (found[1] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_seen_before_white(mode):
    picture = Image.fromarray(noise(4, 5, 3)).convert(mode)
    alpha = np.array([0, 51, 102, 255, 255], np.uint8) + np.zeros((4, 1), np.uint8)
    picture.putalpha(Image.fromarray(alpha))
    shares = alpha[..., None] / 255
    wanted = np.asarray(picture.convert("RGB")) * shares + 255 * (1 - shares)
    np.testing.assert_allclose(pixels(written(picture, "PNG")), wanted, atol=1)


def test_a_transparent_colour_of_a_palette_is_white():
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    found = pixels(written(picture, "GIF", transparency=0))
    assert found.tolist() == [[[255] * 3, [40, 50, 60]]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    file = written(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
    np.testing.assert_array_equal(pixels(file), np.asarray(frames[0]))


def test_one_pixel_is_a_picture():
    assert pixels(written(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")).tolist() == [[[9, 8, 7]]]


# ---------------------------------------------------------------- which way up


@pytest.mark.parametrize("turns", range(1, 9))
def test_every_orientation_is_as_pillow_turns_it_and_turned_once(turns):
    from PIL import ImageOps

    tags = Image.Exif()
    tags[ORIENTATION] = turns
    file = written(Image.fromarray(noise(4, 6, 3)), "PNG", exif=tags)
    found = decode(file)
    with Image.open(io.BytesIO(file)) as picture:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(ImageOps.exif_transpose(picture)))
    with opened(file) as picture:
        assert upright_size(picture) == found.size
        assert orientation(picture) == turns
    assert orientation(found) == 1


# ---------------------------------------------------------------- HEIC


def test_heic_is_known_by_its_bytes_whatever_its_name(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    file = written(Image.new("RGB", (24, 16), (120, 130, 140)), "HEIF", quality=90)
    path = tmp_path / "telephone.jpg"
    path.write_bytes(file)
    for source in (file, path):
        assert np.abs(pixels(source) - [120, 130, 140]).max() < 6


def test_heic_without_its_reader_names_the_extra(monkeypatch, snapshot):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra) as refusal:
        decode(b"\0\0\0\x1cftypheic" + bytes(20), name="holiday.jpg")
    snapshot("heic", str(refusal.value))


# ---------------------------------------------------------------- refusals


def refused(source, name: str | None = None) -> str:
    with pytest.raises(DataError) as refusal:
        decode(source, name)
    return str(refusal.value)


def test_a_torn_file_is_refused_by_name(tmp_path, snapshot):
    path = tmp_path / "torn.jpg"
    file = written(Image.fromarray(noise(64, 64, 3)), "JPEG")
    path.write_bytes(file[: len(file) // 2])
    snapshot("torn", refused(path))
    for kind in ("PNG", "GIF", "WEBP", "TIFF"):
        file = written(Image.fromarray(noise(64, 64, 3)), kind)
        assert "zip.png" in refused(file[: len(file) // 2], "zip.png")


def test_what_is_no_picture_is_refused_by_name(tmp_path, snapshot):
    (tmp_path / "a.png").write_text("not a picture")
    snapshot("no_picture", refused(tmp_path / "a.png"))
    assert refused(b"", "a member of an archive").startswith("a member of an archive: not a picture")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path, snapshot):
    snapshot("absent", refused(tmp_path / "a.png"))


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(snapshot):
    file = bytearray(written(Image.new("L", (1, 1)), "PNG"))
    file[16:24] = (50_000).to_bytes(4, "big") * 2  # width and height in the first chunk, and its checksum
    file[29:33] = zlib.crc32(file[12:29]).to_bytes(4, "big")
    snapshot("bomb", refused(bytes(file), "bomb.png"))


def test_floating_point_is_refused_because_nobody_says_what_white_is(snapshot):
    file = written(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF")
    snapshot("floats", refused(file, "depth.tiff"))


@pytest.mark.parametrize("place", range(0, 200, 10))
def test_noise_in_a_file_is_a_picture_or_a_data_error_and_nothing_else(place):
    file = bytearray(written(Image.fromarray(noise(16, 16, 3)), "PNG"))
    file[place : place + 6] = noise(6).tobytes()
    with suppress(DataError):
        assert decode(bytes(file)).size == (16, 16)
