"""Keys and values of the tokens so far, kept, so that each new one asks them and none is computed twice.

Where words or pixels are drawn one after the other, a token that has been read does not change any more, so
neither do its keys and values (causal attention, Vaswani et al. 2017, sec. 3.2.3). Kept, a step costs the
attention of one query instead of a whole forward pass.

    KeyValueCache   buffers for one attention: `extend` as tokens come, `pick` as hypotheses are chosen
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class KeyValueCache:
    """Keys and values of up to `most` tokens of each example, allocated once.

    Without a device or a type of number it takes those of the first keys. It is no module and holds no
    gradient: for networks that have learned.
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        most: int,
        features: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.shape = (batch, heads, most, features)
        self.count = 0
        """Tokens so far."""
        self._device, self._dtype = device, dtype
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def batch(self) -> int:
        return self.shape[0]

    @property
    def most(self) -> int:
        return self.shape[2]

    def extend(
        self,
        keys: Float[Tensor, "batch heads tokens features"],
        values: Float[Tensor, "batch heads tokens features"],
    ) -> tuple[Float[Tensor, "batch heads keys features"], Float[Tensor, "batch heads keys features"]]:
        """All keys and values so far, these included: views, which the next call leaves as they are, and
        `pick` does not."""
        first, last = self.count, self.count + keys.shape[2]
        assert last <= self.most, f"the cache was made for {self.most} tokens, and these make {last}"
        assert keys.shape[0] == self.batch, f"the cache holds {self.batch} examples, not {keys.shape[0]}"
        if self._keys is None or self._values is None:
            device = keys.device if self._device is None else self._device
            dtype = keys.dtype if self._dtype is None else self._dtype
            self._keys, self._values = (torch.empty(self.shape, device=device, dtype=dtype) for _ in range(2))
        self._keys[:, :, first:last] = keys.detach()
        self._values[:, :, first:last] = values.detach()
        self.count = last
        return self._keys[:, :, :last], self._values[:, :, :last]

    def pick(self, rows: Int[Tensor, "batch"]) -> None:
        """Example i goes on from what was example `rows[i]`, for as many examples as there are rows, and no
        more than before."""
        assert len(rows) <= self.batch, f"{len(rows)} examples do not fit where {self.batch} were"
        self.shape = (len(rows), *self.shape[1:])
        if self._keys is not None and self._values is not None:
            # What is chosen is copied out before it is put back: rows may come twice and in any order.
            for kept in (self._keys, self._values):
                kept[: len(rows), :, : self.count] = kept[rows, :, : self.count]
            self._keys, self._values = self._keys[: len(rows)], self._values[: len(rows)]
