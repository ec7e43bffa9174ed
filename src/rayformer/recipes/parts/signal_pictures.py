"""Signals for the eye: learned beside true, with what is wrong and what is missing.

show_signal      the pictures of a picture, a sound or a video
show_tomogram    a section beside filtered back-projection, and the shadows
bytes_of         values as pixels
spectrum         the strength of every wave of a picture, as a picture
curves           matplotlib axes as a picture
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.data.signals.signal import Signal
from rayformer.runs.pictures import Picture, error_colours, side_by_side

SHOWN_FRAMES = 4
SPECTRUM_DB = 90.0
"""From the strongest wave of a spectrum to what is drawn black."""
ZOOM_S = 0.02
"""Of a sound, so much is drawn wave by wave."""


def show_signal(
    signal: Signal, learned: Float[np.ndarray, "*shape channels"], numbers: Mapping[str, float]
) -> dict[str, Picture]:
    """What is learned, at all samples, beside what is true."""
    match signal.shape.kind:
        case "sound":
            return {"sound": _sound(signal, learned[:, 0], numbers)}
        case "video":
            frames = signal.shape.sizes[0]
            # Odd ones: frames that were not learned from, where any were held out.
            rows = sorted({min(frames - 1, frames * n // SHOWN_FRAMES | 1) for n in range(SHOWN_FRAMES)})
            return {
                f"frame/{row:04d}": _beside(
                    signal.values[row], learned[row], f"frame {row}, whole video: {_said(numbers)}"
                )
                for row in rows
            }
        case _:
            both = [spectrum(values.mean(axis=-1)) for values in (signal.values, learned)]
            said = (
                "strength of every wave in the picture, slow ones in the middle, 90 dB from white to black; "
                "what is missing at the rim is missing detail"
            )
            return {
                "learned": _beside(signal.values, learned, _said(numbers)),
                "spectrum": side_by_side(both, ["waves of the picture", "waves of what is learned"], said),
            }


def _said(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in numbers.items())


def _beside(
    truth: Float[np.ndarray, "height width channels"],
    learned: Float[np.ndarray, "height width channels"],
    caption: str,
) -> Picture:
    error = np.abs(learned.clip(0, 1) - truth).mean(axis=-1)
    panels = [Picture(bytes_of(truth)), Picture(bytes_of(learned)), Picture(error_colours(error))]
    return side_by_side(panels, ["true", "learned", "error, 0 to 0.2"], caption)


def show_tomogram(
    signal: Signal,
    learned: Float[np.ndarray, "height width"],
    usual: Float[np.ndarray, "height width"],
    numbers: Mapping[str, float],
    cast: Float[np.ndarray, "angles detectors"],
) -> dict[str, Picture]:
    """The section as learned and as filtered back-projection has it, with their errors; the shadows."""
    truth = signal.values[..., 0]
    panels = [Picture(bytes_of(one[..., None])) for one in (truth, learned, usual)]
    panels += [Picture(error_colours(np.abs(one.clip(0, None) - truth))) for one in (learned, usual)]
    labels = [
        "section", f"learned: {numbers['psnr_db']:.1f} dB",
        f"back-projection: {numbers['back_projection_psnr_db']:.1f} dB",
        "error of the learned", "of the back-projection",
    ]  # fmt: skip
    assert signal.shadows is not None, "a tomogram has shadows"
    seen = signal.shadows.integrals
    top = float(seen.max())
    angles = len(seen)
    shadows = [Picture(bytes_of((one / top)[..., None])) for one in (seen, cast)]
    shadows.append(Picture(error_colours(np.abs(cast - seen) / top, top=0.05)))
    return {
        "section": side_by_side(panels, labels, f"{angles} angles; {_said(numbers)}"),
        "shadows": side_by_side(
            shadows,
            ["measured", "cast by the field", "error, 0 to 5 %"],
            "a row for each angle, a column for each line; white is the largest integral",
        ),
    }


def bytes_of(values: Float[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "height width 3"]:
    """Values in [0, 1] as pixels, rounded; one channel as grey."""
    pixels = (np.nan_to_num(values).clip(0, 1) * 255).round().astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()


def spectrum(values: Float[np.ndarray, "height width"]) -> Picture:
    """The power of each wave in dB below the strongest but the mean, slow ones in the middle."""
    window = np.hanning(values.shape[0])[:, None] * np.hanning(values.shape[1])
    power = np.abs(np.fft.fftshift(np.fft.fft2((values - values.mean()) * window))) ** 2
    db = 10 * np.log10(power / max(power.max(), 1e-20) + 1e-20)
    return Picture(bytes_of((1 + db / SPECTRUM_DB).clip(0, 1)[..., None]))


def _sound(signal: Signal, learned: Float[np.ndarray, "points"], numbers: Mapping[str, float]) -> Picture:
    truth, rate = signal.values[:, 0], signal.shape.rate or 1.0
    seconds = np.arange(len(truth)) / rate
    loudest = int(np.abs(truth).argmax())
    first = max(0, min(loudest, len(truth) - round(ZOOM_S * rate)))
    zoom = slice(first, first + max(16, round(ZOOM_S * rate)))

    def draw(figure: Any) -> None:
        above, middle, left, right = (figure.add_subplot(spot) for spot in _spots(figure))
        above.plot(seconds, truth, color="0.6", lw=0.5, label="true")
        above.plot(seconds, learned - truth, color="tab:red", lw=0.5, label="learned - true")
        above.set(xlabel="s", title=_said(numbers))
        above.legend(loc="upper right", fontsize=8)
        middle.plot(1000 * seconds[zoom], truth[zoom], "o", color="0.6", ms=3, label="true")
        middle.plot(1000 * seconds[zoom], learned[zoom], color="tab:blue", lw=1, label="learned")
        middle.set(xlabel="ms")
        middle.legend(loc="upper right", fontsize=8)
        for axes, values, title in ((left, truth, "true"), (right, learned, "learned")):
            window = min(512, 2 ** int(np.log2(max(len(values) // 4, 8))))
            faint = 1e-7 * np.sin(np.arange(len(values)) ** 2)  # silence has no logarithm
            axes.specgram(
                values + faint, NFFT=window, Fs=rate, noverlap=window // 2, vmin=-120, vmax=-20, cmap="magma"
            )
            axes.set(title=title, xlabel="s", ylabel="Hz")

    return curves(
        draw, (9, 8), f"{_said(numbers)}; above the whole sound, then {ZOOM_S:g} s, then its spectrogram"
    )


def _spots(figure: Any) -> list[Any]:
    grid = figure.add_gridspec(3, 2, height_ratios=[1, 1, 1.4])
    return [grid[0, :], grid[1, :], grid[2, 0], grid[2, 1]]


def curves(draw: Callable[[Any], None], inches: tuple[int | float, int | float], caption: str) -> Picture:
    """What `draw` puts on a figure, 100 pixels an inch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # 0.3 s that only those who draw pay
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure)
    canvas.draw()
    return Picture(np.asarray(canvas.buffer_rgba())[..., :3].copy(), caption)
