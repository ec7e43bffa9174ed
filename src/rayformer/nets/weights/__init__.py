"""Published weights into our networks: `load(model, source)` reports what became of each."""

from rayformer.nets.weights.loading import Report, load

__all__ = ["Report", "load"]
