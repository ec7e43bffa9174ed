"""What a loss function hands to the engine: one number to descend, and its named parts to look at."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """`total` is what the gradient is taken of; `terms` are logged, and named when one of them diverges."""

    total: Float[Tensor, ""]
    terms: dict[str, Tensor] = field(default_factory=dict)
