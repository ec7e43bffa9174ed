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
)


def entry(name: str) -> Entry:
    """The entry called `name`. Raises ConfigError with the nearest one."""
    known = {entry.name: entry for entry in ENTRIES}
    if name not in known:
        raise ConfigError(
            f"there is no claim {name!r}.{did_you_mean(name, known)}\n`rayformer reproduce` lists them all."
        )
    return known[name]


def run(name: str, smoke: bool, out: Path | None, seeds: Sequence[int] | None) -> "ClaimOutcome":
    """Put the claim called `name` to the test. Raises ConfigError with the nearest one if there is none."""
    return import_module(entry(name).module).CLAIM.reproduce(smoke=smoke, out=out, seeds=seeds)
