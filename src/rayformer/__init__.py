"""rayformer: neural fields and transformers, the architectures that changed computer vision after the
ConvNet.

    import rayformer
    model = rayformer.load("runs/2026-11-22-1530-nerf")     # a run folder in, the trained model out

Importing the package imports no torch, so that `rayformer list` and `--help` answer at once; `load` brings
it in.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayformer.recipes.open_run import load as load

try:
    __version__ = version("rayformer")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from rayformer.recipes.open_run import load

        return load
    raise AttributeError(f"module 'rayformer' has no attribute {name!r}")
