"""read_signal: from a file, a folder or a name to a signal that a field can learn.

    find          a name of a drawn or shipped signal, or a path
    recognise     picture, sound, video or folder of frames, by what is in it
    read          at full precision; narrowed, shortened
    check         at least a few samples along every axis

Each step that decides something says so in `Signal.remarks`.
"""

import hashlib
from pathlib import Path

import numpy as np

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.data.scenes.capture import IMAGE_SUFFIXES, images_in
from rayformer.data.signals.drawn import DRAWN, NAMES, SHIPPED, SOUND_RATE, TONES, VIDEO_RATE, shipped_picture
from rayformer.data.signals.files import read_frames, read_picture_values, read_sound, read_video, scaled_down
from rayformer.data.signals.phantom import HEAD, section, shadows
from rayformer.data.signals.signal import Kind, Shadows, Shape, Signal, SignalConfig

SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac")
PHANTOM_SIZE = 128
FEWEST = {"picture": 4, "sound": 16, "video": 2, "tomogram": 16}
"""Samples that a signal needs along every axis."""


def read_signal(config: SignalConfig) -> Signal:
    """The signal at `config.source`.

    Raises DataError for a place that is absent, empty, torn or no signal, and for too few samples;
    ConfigError for an option that this kind of signal does not have; MissingExtra for a photograph of a
    package that is not installed.
    """
    remarks: list[str] = []
    if config.named:
        name, _, number = config.source.partition("-")
        return _named(config, name, int(number or 1) - 1)
    path = Path(config.source).expanduser()
    if not path.exists():
        raise DataError(
            f"{config.source}: there is no such file or folder, and no signal of this name."
            f"{did_you_mean(config.source, NAMES)}\nNames: {', '.join(NAMES)}."
        )
    kind, said = _recognised(path)
    _refuse_what_is_not_its_own(config, kind)
    remarks.append(f"{path} is read as {said}")
    match kind:
        case "picture":
            values, rate = scaled_down(read_picture_values(path), config.width), None
        case "sound":
            amplitudes, rate = read_sound(path)
            values = _shortened(config, amplitudes, rate, remarks)[:, None]
        case _:
            if path.is_dir():
                values, rate = read_frames(path, config.width, config.frames)
            else:
                values, rate = read_video(path, config.width, config.frames, remarks)
    return _signal(config, said, kind, values, rate, remarks)


def _named(config: SignalConfig, name: str, number: int) -> Signal:
    if number < 0:
        raise DataError(
            f"{config.source}: the drawings of {name!r} are numbered from 1 on: {name}, {name}-2 ..."
        )
    if name == "phantom":
        _refuse_what_is_not_its_own(config, "tomogram")
        size = config.width or PHANTOM_SIZE
        seen = shadows(HEAD, config.angles, size)
        remarks = [
            f"the drawn section of a head, looked through from {config.angles} sides, {size} lines each"
        ]
        values = section(HEAD, size).astype(np.float32)[..., None]
        return _signal(config, "drawn", "tomogram", values, None, remarks, seen=seen)
    if name in SHIPPED:
        _refuse_what_is_not_its_own(config, "picture")
        path = shipped_picture(name)
        remarks = [f"{name} is a photograph that comes with {SHIPPED[name][0]}"]
        values = scaled_down(read_picture_values(path), config.width)
        return _signal(config, "shipped picture", "picture", values, None, remarks)
    kind, draw = DRAWN[name]
    _refuse_what_is_not_its_own(config, kind)
    values, rate, remarks = draw(number).astype(np.float32), None, [f"{config.source} is a drawn {kind}"]
    if kind == "picture":
        values = scaled_down(values, config.width)
    elif kind == "sound":
        rate = float(len(values)) if name == "sines" else float(SOUND_RATE)
        values = _shortened(config, values, rate, remarks)[:, None]
    else:
        rate = float(VIDEO_RATE)
        values = np.stack([scaled_down(frame, config.width) for frame in values[: config.frames]])
    tones = TONES if name == "sines" and config.seconds is None and not config.start else ()
    return _signal(config, "drawn", kind, values, rate, remarks, tones=tones)


def _signal(
    config: SignalConfig,
    said: str,
    kind: Kind,
    values: np.ndarray,
    rate: float | None,
    remarks: list[str],
    tones: tuple[int, ...] = (),
    seen: Shadows | None = None,
) -> Signal:
    shape = Shape(kind=kind, sizes=values.shape[:-1], channels=values.shape[-1], rate=rate)
    if min(shape.sizes) < FEWEST[kind]:
        _refuse_too_few(config, shape)
    parts = [values] if seen is None else [values, seen.integrals]
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(f"{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    remarks.append(f"{kind}: {shape}")
    return Signal(
        source=config.source, format=said, shape=shape, values=np.ascontiguousarray(values, np.float32),
        remarks=tuple(remarks), fingerprint=digest.hexdigest(), tones=tones, shadows=seen,
    )  # fmt: skip


def _refuse_too_few(config: SignalConfig, shape: Shape) -> None:
    least = FEWEST[shape.kind]
    match shape.kind:
        case "sound":
            what, rule = f"{shape.sizes[0]} samples", f"A sound needs {least} or more."
        case "video" if shape.sizes[0] < least:
            what = "one frame"
            rule = f"A video needs {least} or more, to learn from one and measure at the next."
        case _:
            what, rule = str(shape), f"At least {least} pixels are needed along each axis."
    hint = "Give a larger one, or leave data.width, data.frames and data.seconds as they are."
    raise DataError(f"{config.source}: the {shape.kind} has only {what}. {rule}\n{hint}")


def _recognised(path: Path) -> tuple[Kind, str]:
    """What kind of signal a file or folder is, and how to say it."""
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "picture", f"a {suffix[1:].upper()} picture"
    if suffix in SOUNDS:
        return "sound", f"{suffix[1:].upper()} sound"
    import av  # 60 MB of codecs, which tell what else it may be

    try:
        with av.open(str(path)) as container:
            if container.streams.video:
                return "video", f"{container.format.name.split(',')[0]} video"
            if container.streams.audio:
                return "sound", f"{container.format.name.split(',')[0]} sound"
    except (av.FFmpegError, OSError):
        pass
    raise DataError(
        f"{path}: neither a picture nor a sound nor a video that can be read.\n"
        f"Pictures end in {', '.join(IMAGE_SUFFIXES)}; sounds and videos are what FFmpeg knows."
    )


def _folder(path: Path) -> tuple[Kind, str]:
    pictures = images_in(path)
    if len(pictures) >= FEWEST["video"]:
        return "video", f"a folder of {len(pictures)} frames"
    found = sorted(place.name + "/" * place.is_dir() for place in path.iterdir())
    if pictures:
        cause = f"holds one picture, and a video has two frames or more.\nGive {pictures[0]} itself"
    elif not found:
        cause = "the folder is empty.\nGive a folder of frames, or a picture, a sound, a video"
    else:
        some = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        cause = f"holds no pictures, but {some}.\nGive a folder of frames, or a picture, a sound, a video"
    raise DataError(f"{path}: {cause}.")


def _shortened(config: SignalConfig, amplitudes: np.ndarray, rate: float, remarks: list[str]) -> np.ndarray:
    first = round(config.start * rate)
    last = len(amplitudes) if config.seconds is None else first + round(config.seconds * rate)
    if first >= len(amplitudes):
        raise DataError(
            f"{config.source}: data.start is {config.start:g} s, but the sound ends after "
            f"{len(amplitudes) / rate:.2f} s."
        )
    if first or last < len(amplitudes):
        end = min(last, len(amplitudes)) / rate
        remarks.append(f"taken from {config.start:g} s to {end:g} s of {len(amplitudes) / rate:g} s")
    return amplitudes[first:last]


OWN = {
    "width": ("picture", "video", "tomogram"),
    "start": ("sound",),
    "seconds": ("sound",),
    "frames": ("video",),
}
"""Which kinds an option of SignalConfig is about, where it is not all of them."""


def _refuse_what_is_not_its_own(config: SignalConfig, kind: Kind) -> None:
    for name, kinds in OWN.items():
        if getattr(config, name) not in (None, 0.0) and kind not in kinds:
            raise ConfigError(
                f"data.{name} is about a {' or a '.join(kinds)}, but {config.source} is a {kind}.\n"
                "Leave it out."
            )
