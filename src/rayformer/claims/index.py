"""Every claim by name, as a static list: `rayformer reproduce` lists them without importing torch.

    ENTRIES     what there is: name, paper, the statement put to the test, how long it takes
    entry       one of them by name, or the nearest one offered
    run         put it to the test

A new claim is a module with a `CLAIM`, and one entry here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rayformer.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rayformer.claims.claim import ClaimOutcome


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    module: str
    """Where its `CLAIM` is."""
    paper: str
    statement: str
    minutes: int
    """About how long it takes on two cores."""


ENTRIES = (
    Entry(
        name="nerf-ablations",
        module="rayformer.claims.nerf_ablations",
        paper="Mildenhall et al. 2020, table 2 and fig. 4",
        statement="a complete NeRF beats one without view dependence, "
        "which beats one without positional encoding",
        minutes=6,
    ),
    Entry(
        name="view-dependence",
        module="rayformer.claims.view_dependence",
        paper="Mildenhall et al. 2020, fig. 3",
        statement="the field learns which colour a glossy surface point sends into which direction",
        minutes=8,
    ),
    Entry(
        name="coarse-to-fine",
        module="rayformer.claims.coarse_to_fine",
        paper="Mildenhall et al. 2020, section 5.2 and table 2",
        statement="sampling where a first pass found matter beats uniform sampling with as many queries",
        minutes=4,
    ),
    Entry(
        name="anti-aliasing",
        module="rayformer.claims.anti_aliasing",
        paper="Barron et al. 2023, section 5",
        statement="a grid that is asked about cones loses less as pixels grow "
        "than one that is asked about points",
        minutes=12,
    ),
    Entry(
        name="fourier-features",
        module="rayformer.claims.fourier_features",
        paper="Tancik et al. 2020, section 6.1 and table 1",
        statement="a network learns a picture better from Gaussian waves than from positional ones, "
        "from those better than from basic ones, and worst from bare coordinates",
        minutes=8,
    ),
    Entry(
        name="spectral-bias",
        module="rayformer.claims.spectral_bias",
        paper="Tancik et al. 2020, section 4",
        statement="from a bare coordinate a network learns slow waves first and fast ones hardly ever; from "
        "Gaussian waves it learns them all in time",
        minutes=2,
    ),
    Entry(
        name="in-the-wild",
        module="rayformer.claims.in_the_wild",
        paper="Martin-Brualla et al. 2021, table of the perturbed lego scene",
        statement="codes of light make good changed colours, doubt makes good what passes by, "
        "and both together make good both",
        minutes=24,
    ),
    Entry(
        name="city-scale",
        module="rayformer.claims.city_scale",
        paper="Tancik et al. 2022, sections 4 and 5",
        statement="blocks keep their quality, their time and their memory as a street grows, where one field "
        "loses quality, and aligned codes close the seams between them",
        minutes=35,
    ),
    Entry(
        name="resnet-rs-ladder",
        module="rayformer.claims.resnet_rs_ladder",
        paper="Bello et al. 2021, table 1",
        statement="rung by rung a ResNet climbs, more by how it is trained than by what it is made of",
        minutes=20,
    ),
    Entry(
        name="cnn-vs-transformer",
        module="rayformer.claims.cnn_vs_transformer",
        paper="Smith et al. 2023, arXiv:2310.16764",
        statement="with the same compute, ConvNets and transformers recognise pictures about equally well",
        minutes=22,
    ),
    Entry(
        name="convnext-roadmap",
        module="rayformer.claims.convnext_roadmap",
        paper="Liu et al. 2022, section 2 and figure 2",
        statement="step by step a ResNet becomes a ConvNeXt, and recognises better at its end",
        minutes=24,
    ),
    Entry(
        name="igpt-objectives",
        module="rayformer.claims.igpt_objectives",
        paper="Chen et al. 2020, figure 4",
        statement="features learned pixel by pixel are better by linear probe than those learned from hidden "
        "pixels, which catch up when tuned",
        minutes=30,
    ),
    Entry(
        name="bidirectional",
        module="rayformer.claims.bidirectional",
        paper="Devlin et al. 2018, section 5.1 and table 5",
        statement="features that look both ways know what a word means where it stands, "
        "those that look back only do not",
        minutes=12,
    ),
    Entry(
        name="attention-cost",
        module="rayformer.claims.attention_cost",
        paper="Liu et al. 2021, eq. 1 and 2",
        statement="the cost of global attention grows with the square of the pixels, that of attention in "
        "windows with the pixels",
        minutes=3,
    ),
    Entry(
        name="denoising",
        module="rayformer.claims.denoising",
        paper="Vincent et al. 2008, table 1",
        statement="a network whose layers learned to denoise before is mistaken less often than the same "
        "network whose layers learned to copy, or nothing",
        minutes=8,
    ),
    Entry(
        name="view-synthesis",
        module="rayformer.claims.view_synthesis",
        paper="the systems' own papers; no paper has them all on one scene",
        statement="in the same few minutes, fields that keep what they know of a place near it beat one "
        "network for all of space, which beats a volume drawn by networks",
        minutes=22,
    ),
)


def entry(name: str) -> Entry:
    """The entry called `name`. Raises ConfigError with the nearest one."""
    known = {entry.name: entry for entry in ENTRIES}
    if name not in known:
        raise ConfigError(
            f"there is no claim {name!r}.{did_you_mean(name, known)}\n`rayformer reproduce` lists them all."
        )
    return known[name]


def run(
    name: str, smoke: bool, out: Path | None, seeds: Sequence[int] | None, source: str | None = None
) -> "ClaimOutcome":
    """Put the claim called `name` to the test. Raises ConfigError with the nearest one if there is none."""
    claim = import_module(entry(name).module).CLAIM
    return claim.reproduce(smoke=smoke, out=out, seeds=seeds, source=source)
