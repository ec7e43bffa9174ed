"""Frames: upright, small enough, sharp, and none twice."""

import shutil

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from rayformer.core.errors import DataError
from rayformer.data.scenes.frames import gather_frames, sharpness
from rayformer.runs.video import write_video

ORIENTATION, EXIF, FOCAL_35MM, MAKE = 0x0112, 0x8769, 0xA405, 0x010F


def picture(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (8, 12, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.NEAREST)


def photographs(folder, count=4, **size):
    folder.mkdir(parents=True)
    for number in range(count):
        picture(number, **size).save(folder / f"p{number}.jpg", quality=95)
    return folder


def gather(source, tmp_path, longest=1600, count=10):
    return gather_frames(source, tmp_path / "frames", longest, count, lambda *_: None)


def film(path, offsets, blurred=(), width=192, height=128):
    """A pan: each frame shows a wide picture further to the right; those listed are blurred."""
    wide = Image.fromarray(np.random.default_rng(5).integers(0, 256, (16, 200, 3), np.uint8))
    wide = wide.resize((200 * 8, height), Image.Resampling.BICUBIC)
    frames = [wide.crop((offset, 0, offset + width, height)) for offset in offsets]
    frames = [
        frame.filter(ImageFilter.GaussianBlur(3)) if number in blurred else frame
        for number, frame in enumerate(frames)
    ]
    write_video(path, (np.asarray(frame) for frame in frames), fps=30)
    return path


# ------------------------------------------------------------------------------------------ photographs


def test_photographs_that_need_nothing_are_copied_byte_for_byte(tmp_path):
    source = photographs(tmp_path / "photos")
    gathered = gather(source, tmp_path)
    assert [frame.source for frame in gathered.frames] == [f"p{number}.jpg" for number in range(4)]
    assert not gathered.ordered
    for frame in gathered.frames:
        assert (tmp_path / "frames" / frame.name).read_bytes() == (source / frame.source).read_bytes()


def test_large_ones_are_scaled_to_the_longest_side_and_small_ones_left(tmp_path):
    source = photographs(tmp_path / "photos", width=300, height=200)
    picture(9, 90, 60).save(source / "small.png")
    picture(8, 100, 400).save(source / "tall.png")
    frames = {frame.source: frame for frame in gather(source, tmp_path, longest=150).frames}
    assert (frames["p0.jpg"].width, frames["p0.jpg"].height) == (150, 100)
    assert (frames["small.png"].width, frames["small.png"].height) == (90, 60)
    assert (frames["tall.png"].width, frames["tall.png"].height) == (38, 150)
    for frame in frames.values():
        with Image.open(tmp_path / "frames" / frame.name) as written:
            assert written.size == (frame.width, frame.height)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_every_orientation_comes_out_upright(orientation, tmp_path):
    source = photographs(tmp_path / "photos")
    upright = picture(7)
    back = {
        1: None,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright if back[orientation] is None else upright.transpose(back[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(source / "turned.jpg", exif=exif, quality=95, subsampling=0)
    frame = next(frame for frame in gather(source, tmp_path).frames if frame.source == "turned.jpg")
    with Image.open(tmp_path / "frames" / frame.name) as written:
        assert written.getexif().get(ORIENTATION, 1) == 1
        assert np.abs(np.asarray(written, float) - np.asarray(upright, float)).mean() < 5


def test_names_count_as_people_count_and_are_made_safe(tmp_path):
    source = photographs(tmp_path / "photos", 3)
    for old, new in [("p0.jpg", "img 10.jpg"), ("p1.jpg", "img 9.jpg"), ("p2.jpg", "img_10.png")]:
        (source / old).rename(source / new)
    frames = gather(source, tmp_path).frames
    assert [frame.source for frame in frames] == ["img 9.jpg", "img 10.jpg", "img_10.png"]
    assert len({frame.name.lower() for frame in frames}) == 3
    assert not any(" " in frame.name for frame in frames)


def test_the_focal_length_of_a_phone_is_read_and_scaled(tmp_path):
    source = photographs(tmp_path / "photos", 3, width=400, height=300)
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    exif.get_ifd(EXIF)[FOCAL_35MM] = 26
    picture(7, 400, 300).save(source / "phone.jpg", exif=exif)
    frames = {frame.source: frame for frame in gather(source, tmp_path, longest=200).frames}
    assert frames["phone.jpg"].focal == pytest.approx(26 / 43.27 * 250, rel=1e-3)
    assert frames["p0.jpg"].focal is None
    assert frames["p0.jpg"].lens == frames["p1.jpg"].lens != frames["phone.jpg"].lens


def test_unreadable_ones_and_copies_are_left_out_and_said(tmp_path, snapshot):
    source = photographs(tmp_path / "photos", 5)
    (source / "p1.jpg").write_bytes((source / "p1.jpg").read_bytes()[:900])
    (source / "p2.jpg").write_bytes(b"")
    shutil.copy(source / "p3.jpg", source / "p3 (1).jpg")
    gathered = gather(source, tmp_path)
    assert len(gathered.frames) == 3
    snapshot("left_out", "\n".join(gathered.remarks))


def test_photographs_may_lie_in_a_folder_called_images(tmp_path):
    photographs(tmp_path / "photos" / "images")
    gathered = gather(tmp_path / "photos", tmp_path)
    assert len(gathered.frames) == 4
    assert "images" in gathered.remarks[0]


# ------------------------------------------------------------------------------------------ a video


def test_blur_lowers_sharpness():
    sharp = picture(1).convert("L")
    grey = [np.asarray(sharp.filter(ImageFilter.GaussianBlur(r)), np.float32) for r in (0, 1, 2, 4)]
    values = [sharpness(one) for one in grey]
    assert values == sorted(values, reverse=True)


def test_the_sharpest_frame_of_each_stretch_is_taken(tmp_path):
    sharp = {3, 11, 16, 29}
    path = film(tmp_path / "pan.mp4", range(0, 320, 10), blurred=set(range(32)) - sharp)
    gathered = gather(path, tmp_path, count=4)
    assert gathered.ordered
    taken = [round(float(frame.source.removesuffix(" s")) * 30) for frame in gathered.frames]
    assert taken == sorted(sharp)
    assert len(list((tmp_path / "frames").iterdir())) == 4


def test_frames_show_what_the_video_shows(tmp_path):
    path = film(tmp_path / "pan.mp4", range(0, 240, 30))
    frames = gather(path, tmp_path, count=8).frames
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for frame, truth in zip(frames, shown, strict=True):
        with Image.open(tmp_path / "frames" / frame.name) as written:
            assert np.abs(np.asarray(written, float) - truth).mean() < 4


def test_colours_of_a_video_come_back(tmp_path):
    colours = [(200, 40, 40), (40, 180, 60), (50, 70, 200), (128, 128, 128)]
    write_video(tmp_path / "c.mp4", (np.full((64, 64, 3), colour, np.uint8) for colour in colours))
    frames = gather(tmp_path / "c.mp4", tmp_path).frames
    for frame, colour in zip(frames, colours, strict=True):
        with Image.open(tmp_path / "frames" / frame.name) as written:
            assert np.abs(np.asarray(written, float) - colour).max() < 6


def test_a_video_filmed_upright_comes_out_upright(tmp_path):
    """Phones store lying frames and a matrix that turns them; here it is put into the file by hand."""
    path = film(tmp_path / "pan.mp4", range(0, 240, 30))
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    quarter = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]  # clockwise
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in quarter)
    (tmp_path / "phone.mp4").write_bytes(content)
    lying = gather(path, tmp_path, count=8).frames
    with Image.open(tmp_path / "frames" / lying[0].name) as picture:
        expected = np.rot90(np.asarray(picture, float), -1)
    frames = gather(tmp_path / "phone.mp4", tmp_path, count=8).frames
    assert (frames[0].width, frames[0].height) == (128, 192)
    with Image.open(tmp_path / "frames" / frames[0].name) as picture:
        assert np.abs(np.asarray(picture, float) - expected).mean() < 4


def test_where_the_camera_rests_one_frame_is_enough(tmp_path):
    rests = [0] * 30 + list(range(0, 300, 10)) + [300] * 30
    gathered = gather(film(tmp_path / "pan.mp4", rests), tmp_path, count=30)
    assert 8 <= len(gathered.frames) <= 14
    assert "the one before shows" in gathered.remarks[1]


def test_a_torn_video_is_used_as_far_as_it_goes(tmp_path):
    path = tmp_path / "long.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(90):
            frame = av.VideoFrame.from_ndarray(np.asarray(picture(number // 9)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert 3 <= len(gather(path, tmp_path, count=10).frames) <= 10


# ------------------------------------------------------------------------------------------ bad input


def bad_source(fault, tmp_path):
    place = tmp_path / "photos"
    if fault == "single_photo_file":
        return photographs(place, 1) / "p0.jpg"
    if fault == "single_photo_folder":
        return photographs(place, 1)
    if fault == "two_of_four_readable":
        photographs(place)
        for number in (0, 2):
            (place / f"p{number}.jpg").write_bytes(b"\xff\xd8 torn")
        return place
    if fault == "still_video":
        return film(tmp_path / "still.mp4", [40] * 60)
    if fault == "one_frame_video":
        return film(tmp_path / "one.mp4", [40])
    if fault == "unreadable_video":
        (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
        return tmp_path / "noise.mp4"
    if fault == "sound_only":
        with av.open(str(tmp_path / "sound.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        return tmp_path / "sound.wav"
    if fault == "folder_of_videos":
        place.mkdir()
        film(place / "a.mp4", [0, 40])
        (place / "notes.txt").write_text("x")
        return place
    if fault == "empty_folder":
        place.mkdir()
        return place
    return tmp_path / "nowhere"


@pytest.mark.parametrize(
    "fault",
    "single_photo_file single_photo_folder two_of_four_readable still_video one_frame_video unreadable_video "
    "sound_only folder_of_videos empty_folder nowhere".split(),
)
def test_bad_sources_are_refused_in_plain_words(fault, tmp_path, snapshot):
    source = bad_source(fault, tmp_path)
    with pytest.raises(DataError) as caught:
        gather(source, tmp_path)
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    snapshot(fault, text)
