"""Small signals in files, as people have them."""

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """16-bit PCM; two columns are two channels."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path


def write_deep_colours(path: Path, values: np.ndarray) -> Path:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    import av

    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt = values.shape[1], values.shape[0], "rgb48be"
    codec.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray((values * 65535).round().astype(np.uint16), format="rgb48le")
    packets = [*codec.encode(frame.reformat(format="rgb48be")), *codec.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def write_picture(path: Path, values: np.ndarray) -> Path:
    """Bytes of grey, colour, or colour and alpha."""
    Image.fromarray(values).save(path)
    return path
