"""Which way is better, by the name of a metric: what picks the best checkpoint and colours a table."""

from rayformer.core.errors import ConfigError, did_you_mean

HIGHER = frozenset(
    "psnr snr ssim top1 top5 accuracy ap ap50 ap75 iou f1 mcc pearson spearman bleu consistency".split()
)
LOWER = frozenset("loss lpips perplexity nats bpd error mse rmse chamfer".split())


def higher_is_better(name: str) -> bool:
    """Whether more of `name` is better: `psnr_db` yes, `lpips` no.

    A name is words joined by underscores, one of which says what is measured; the others say of what
    (`fine_psnr_db`) or in which unit (`chamfer_mm`). Raises ConfigError where no word, or words of both
    kinds, are known.
    """
    words = set(name.lower().replace("-", "_").split("_"))
    higher, lower = words & HIGHER, words & LOWER
    if bool(higher) == bool(lower):
        cause = "names measures of both kinds" if higher else "names no measure that is known"
        raise ConfigError(
            f"Is more of {name!r} better or worse? The name {cause}.{did_you_mean(name, HIGHER | LOWER)}\n"
            f"Higher is better: {', '.join(sorted(HIGHER))}.\n"
            f"Lower is better: {', '.join(sorted(LOWER))}."
        )
    return bool(higher)
