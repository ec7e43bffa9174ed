"""A network with its classes as one thing that goes to the Hugging Face hub and comes back.

    HubClassifier   a network, the names of its classes, the numbers of the pictures it wants

`HubClassifier.from_pretrained("OWNER/NAME")` and `HubClassifier.from_pretrained(FOLDER)` bring it back,
`push_to_hub` sends it. Importing this file needs the extra `hub` and raises MissingExtra without it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.config import from_plain, to_plain
from rayformer.core.errors import ConfigError, MissingExtra, did_you_mean
from rayformer.nets.families import FAMILIES

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise MissingExtra("hub", "a network for the Hugging Face hub") from error


class HubClassifier(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="rayformer",
    pipeline_tag="image-classification",
    tags=["rayformer"],
):
    """All that it is made from is plain, so that it fits into config.json."""

    def __init__(
        self,
        family: str,
        network: Mapping[str, Any],
        classes: Sequence[str],
        preprocessing: Mapping[str, Any],
    ):
        """`network` is the config of the family's network, `preprocessing` what `EvalTransform.of` of
        `rayformer.data.images.transforms` takes. Raises ConfigError for what is no network."""
        super().__init__()
        if family not in FAMILIES:
            raise ConfigError(
                f"family must be one of {', '.join(FAMILIES)}, but is {family!r}."
                + did_you_mean(family, FAMILIES)
            )
        kind = FAMILIES[family]
        self.family, self.classes, self.preprocessing = family, tuple(classes), dict(preprocessing)
        self.model = kind.net(from_plain(kind.config, network, where="config.json"), len(self.classes))

    @classmethod
    def around(
        cls, net: nn.Module, classes: Sequence[str], preprocessing: Mapping[str, Any]
    ) -> "HubClassifier":
        """The same around a network that there is. Raises ConfigError for one of no family here."""
        family = next((name for name, kind in FAMILIES.items() if type(net) is kind.net), None)
        if family is None:
            raise ConfigError(
                f"a {type(net).__name__} is not written for the hub: networks of {', '.join(FAMILIES)} are."
            )
        with torch.device("meta"):  # what it makes for itself is thrown away
            wrapped = cls(family, to_plain(net.config), list(classes), dict(preprocessing))
        wrapped.model = net
        return wrapped

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        """One number for each class, in the order of `classes`."""
        return self.model(images)
