"""A video plays everywhere and shows what was put in."""

import av
import numpy as np
import pytest
from PIL import Image

from rayformer.core.errors import ConfigError, RunError, ShapeError
from rayformer.runs.video import write_video

COLOURS = np.array([[200, 40, 40], [40, 180, 60], [50, 70, 200], [128, 128, 128]], np.uint8)


def flat(colour, height=32, width=48):
    return np.broadcast_to(np.asarray(colour, np.uint8), (height, width, 3)).copy()


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return stream, frames


def test_frames_come_back_in_number_order_rate_and_colour(tmp_path):
    assert write_video(tmp_path / "out.mp4", (flat(colour) for colour in COLOURS), fps=24) == 4
    stream, frames = decoded(tmp_path / "out.mp4")
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert stream.average_rate == 24
    assert len(frames) == 4
    for frame, colour in zip(frames, COLOURS, strict=True):
        assert np.abs(frame.mean(axis=(0, 1)) - colour).max() < 3


def test_an_odd_size_is_padded_to_the_next_even_one(tmp_path):
    pixels = flat(COLOURS[0], height=33, width=47)
    write_video(tmp_path / "out.mp4", [pixels] * 3)
    _, frames = decoded(tmp_path / "out.mp4")
    assert frames[0].shape == (34, 48, 3)
    assert np.abs(frames[0][-1].astype(int) - COLOURS[0]).max() < 6


def test_a_name_without_a_suffix_becomes_a_folder_of_lossless_frames(tmp_path):
    assert write_video(tmp_path / "frames", (flat(colour) for colour in COLOURS)) == 4
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frames" / "0002.png")), flat(COLOURS[2]))


def test_an_interrupted_video_leaves_no_file(tmp_path):
    def frames():
        yield flat(COLOURS[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "out.mp4", frames())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        write_video(tmp_path / "file" / "out.mp4", [flat(COLOURS[0])])


def test_another_suffix_is_refused(tmp_path, snapshot):
    with pytest.raises(ConfigError) as error:
        write_video(tmp_path / "out.gif", [flat(COLOURS[0])])
    snapshot("suffix", str(error.value))


def test_frames_of_two_sizes_are_refused(tmp_path):
    with pytest.raises(ShapeError, match="frame 1"):
        write_video(tmp_path / "out.mp4", [flat(COLOURS[0]), flat(COLOURS[0], height=40)])
