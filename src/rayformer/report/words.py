"""Names of numbers into words, and numbers into figures a person reads.

Quantity    what a name like `val/psnr_db` says: title "PSNR", unit "dB", and whose it is
quantity    read the name
figure      a number with the digits that matter
duration    seconds as a person would say them
"""

import math
from dataclasses import dataclass

GROUPS = {"train": "Training", "val": "Held out", "test": "Test"}
UNITS = {
    "_per_s": "per second",
    "_db": "dB",
    "_gib": "GiB",
    "_mib": "MiB",
    "_ms": "ms",
    "_s": "s",
    "_percent": "%",
    "_px": "px",
    "_degrees": "°",
    "_nats": "nats",
}
TITLES = {
    "psnr": "PSNR",
    "snr": "SNR",
    "train_psnr": "PSNR of what was learned from",
    "train_snr": "SNR of what was learned from",
    "back_projection_psnr": "PSNR of filtered back-projection",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    **{
        f"{where}_{name}": f"{title} {said}"
        for where, said in {
            "whole": "of whole photographs",
            "masked": "within the masks",
            "usual": "in the usual light",
            "nearest": "of the nearest block alone",
        }.items()
        for name, title in {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}.items()
    },
    "seam_error": "error at seams",
    "unaligned_seam_error": "the same before alignment",
    "job": "memory of one block's training",
    "lr": "learning rate",
    "rate": "learning rate",
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "logistic_top1": "top-1 accuracy of logistic regression",
    "logistic_strength": "its strength against its penalty",
    "knn_top1": "top-1 accuracy of nearest neighbours",
    "probe_top1": "top-1 accuracy of a linear probe",
    "probe_layer": "the layer that it reads",
    "one_mask_top1": "top-1 accuracy with pixels hidden one way",
    "one_mask_probe_top1": "top-1 accuracy of the probe with pixels hidden one way",
    "bleu": "BLEU",
    "words": "cross-entropy of words asked about",
    "words_accuracy": "words told rightly",
    "next": "cross-entropy of what comes next",
    "next_accuracy": "pairs told rightly",
    **{
        f"{which}{name}": f"{title}{said}"
        for which, said in {
            "": "",
            "lowest_": " of the worst seed",
            "highest_": " of the best seed",
            "together_": " of all seeds' mean answer",
        }.items()
        for name, title in {
            "accuracy": "accuracy",
            "f1": "F1",
            "mcc": "Matthews' correlation",
            "pearson": "Pearson's correlation",
            "spearman": "Spearman's correlation",
        }.items()
    },
    "commonest_accuracy": "accuracy of always giving the commonest answer",
    "mismatched_accuracy": "accuracy on genres that were not learned from",
    "restored_mse": "mean squared error of what was restored",
    "spoiled_mse": "that of what was spoiled",
    "unspoiled_mse": "that of what was clean, there and back",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "miou": "mean IoU",
    "iou": "IoU",
}


@dataclass(frozen=True)
class Quantity:
    title: str
    unit: str
    """Empty where the number has none, or its name does not say."""
    group: str
    """Whose number it is: "Training", "Held out", or empty."""

    @property
    def heading(self) -> str:
        whose = f"{self.group}: " if self.group else ""
        what = f"{self.title} {self.unit}" if self.unit == "per second" else self.title
        return _capitalised(f"{whose}{what}") + (
            f" [{self.unit}]" if self.unit not in ("", "per second") else ""
        )

    def __str__(self) -> str:
        return _capitalised(self.title)


def quantity(name: str) -> Quantity:
    """What the name of a number says: `GROUP/WORDS_UNIT`, all but the words optional."""
    *groups, words = name.split("/")
    suffix = next((suffix for suffix in UNITS if words.endswith(suffix) and words != suffix), "")
    words = words.removesuffix(suffix)
    title = TITLES.get(words, words.replace("_", " "))
    return Quantity(title, UNITS.get(suffix, ""), ", ".join(GROUPS.get(group, group) for group in groups))


def figure(value: float | int, digits: int = 4) -> str:
    """A number with `digits` significant ones at most, thousands set apart: 24.13, 0.8124, 1,234,567,
    3.1e-07.
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 15:
        return f"{value:.{digits - 2}e}"
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float | int) -> str:
    """42 s, 3 min 20 s, 2 h 05 min."""
    seconds = round(seconds) if seconds >= 10 else seconds
    if seconds < 60:
        return f"{figure(seconds, 2)} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:02.0f} min"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
