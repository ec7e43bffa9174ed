"""New views without any training: photographs blended by how well each would know, or sent where they belong.

    LumigraphConfig  what a recipe may change about the blending
    Lumigraph        every pixel from the sources that see its place best     Buehler et al. 2001, section 4.3
    penalties        how badly a source knows each pixel: angle, resolution, border, sight         eq. 1, 2
    blending_weights the k best of them, smoothly                                                   eq. 3-5
    Splatting        every source's pixels sent to the new picture, nearer ones before farther ones

Unstructured Lumigraph Rendering: https://doi.org/10.1145/383259.383309. Both have no parameters. Both go by
the same depths as Free View Synthesis and are what it has to be better than.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.fields.parts.sources import Blend, Look, OpenSources, Source, made_picture
from rayformer.geometry.cameras import Camera
from rayformer.geometry.warp import Warp, places_of, splatted, warp

HIDDEN = 1e3
"""Penalty of a source that does not see a place because something stands before it: so much that it is heard
only where nobody sees the place."""
SAME = 1e-6
"""A penalty, in radians, that is as good as none."""


@dataclass(frozen=True, kw_only=True)
class LumigraphConfig:
    candidates: int = 8
    """Sources that are looked at for a picture: those that see most of it."""
    blended: int = 4
    """Sources that each pixel is mixed of: those with the least penalty."""
    resolution: float = 0.2
    """Radians that a source loses where it sees a place at half the resolution of the new picture."""
    border: int = 8
    """A source fades out over so many pixels at its border."""

    def __post_init__(self):
        if self.blended < 1 or self.candidates < self.blended:
            raise ConfigError(
                "model.lumigraph.blended must be at least 1, and candidates at least as many, but they are "
                f"{self.blended} and {self.candidates}"
            )
        if self.resolution < 0 or self.border < 0:
            raise ConfigError(
                "model.lumigraph.resolution and border must not be negative, but they are "
                f"{self.resolution} and {self.border}"
            )


class Lumigraph(nn.Module):
    """A source that stands where the new camera stands is all of the picture: epipole consistency."""

    def __init__(self, config: LumigraphConfig, sources: OpenSources):
        super().__init__()
        self.config, self.sources = config, sources

    @torch.no_grad()
    def blend(self, camera: Camera, but: int | None = None) -> Blend:
        look = self.sources().look(camera, self.config.candidates, but=but)
        weights = blending_weights(penalties(look, self.config), self.config.blended)
        warped = torch.stack([look.warped(which) for which in range(len(look.rows))])
        colour = torch.einsum("vhw,vchw->hwc", weights, warped)
        return Blend(look, colour, weights, warped)

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        return made_picture(self.blend(camera), background)


def penalties(look: Look, config: LumigraphConfig) -> Float[Tensor, "views height width"]:
    """Of every source at every pixel, in radians: the angle between its ray and the new one, and what it
    loses in resolution; `HIDDEN` more where it does not see the place, infinity where the place is not in its
    picture."""
    places = places_of(look.camera, look.depth)
    at_infinity = look.depth.isinf().cpu()
    towards = look.camera.position.double() - places
    rows = []
    for source, found in zip(look.sources, look.warps, strict=True):
        ours = source.camera.position.double() - places
        # By sine and cosine: the cosine alone is not exact for small angles, which are those that matter.
        sine, cosine = torch.linalg.cross(towards, ours).norm(dim=-1), (towards * ours).sum(dim=-1)
        angle = torch.where(at_infinity, 0.0, torch.atan2(sine, cosine))
        rows.append(angle + _lost(look, source, found, config) + _faded(source, found, config))
    return torch.stack(rows).float()


def _lost(look: Look, source: Source, found: Warp, config: LumigraphConfig) -> Tensor:
    """The more, the coarser a source sees a place: by how often its pixel is twice as wide as ours."""
    deep = look.depth.double().cpu()
    coarser = (found.depth / source.camera.fx) / (deep / look.camera.fx)
    coarser = torch.where(deep.isinf(), look.camera.fx / source.camera.fx, coarser)
    return config.resolution * coarser.clamp(min=1).log2()


def _faded(source: Source, found: Warp, config: LumigraphConfig) -> Tensor:
    """What is added because of the border and of what stands in the way."""
    size = torch.tensor([source.camera.width, source.camera.height], dtype=torch.float64)
    margin = torch.minimum(found.places, size - found.places).amin(dim=-1)
    # From none at `border` pixels inside to without bound at the border itself, so that nothing jumps there.
    share = (margin / max(config.border, 1e-9)).clamp(0, 1) if config.border else (margin >= 0).double()
    fade = torch.where(share > 0, 1 / share.clamp(min=1e-9) - 1, torch.inf) * 0.1
    fade = torch.where(found.inside, fade, torch.inf)
    return fade + torch.where(found.seen, 0.0, HIDDEN)


def blending_weights(
    penalty: Float[Tensor, "views height width"], blended: int
) -> Float[Tensor, "views height width"]:
    """Weights that fall with the penalty and reach zero at that of the first source left out, so that they
    change smoothly as the camera moves; their sum is 1, or 0 where every penalty is infinite."""
    kept = min(blended, len(penalty))
    ranked = penalty.sort(dim=0).values
    limit = ranked[kept] if len(penalty) > kept else torch.full_like(ranked[0], torch.inf)
    # A bound a little beyond a tie, or those that tie would all be left out.
    limit = limit * (1 + 1e-3) + SAME
    safe = penalty.clamp(min=SAME)
    weight = torch.where(penalty < limit, (1 - safe / limit).clamp(min=0) / safe, 0.0)
    weight = torch.where(penalty.isinf(), 0.0, weight)
    return weight / weight.sum(dim=0).clamp(min=1e-30)


class Splatting(nn.Module):
    """The pixels of the best sources as coloured points: no depth of the target is needed, but what no source
    has seen stays a hole, and so does what is seen closer than they saw it."""

    def __init__(self, count: int, sources: OpenSources):
        super().__init__()
        self.count, self.sources = count, sources

    @torch.no_grad()
    def blend(self, camera: Camera, but: int | None = None) -> Blend:
        look = self.sources().look(camera, self.count, but=but)
        sent = [_sent(look, number) for number in range(len(look.rows))]
        colours, places, depth = (torch.cat(parts) for parts in zip(*sent, strict=True))
        mixed, *_ = splatted(colours, places, depth, camera.width, camera.height, look.tolerance)
        weights = mixed[..., 3:].permute(2, 0, 1)
        warped = torch.stack([look.warped(which) for which in range(len(look.rows))])
        return Blend(look, mixed[..., :3], weights, warped)

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        return made_picture(self.blend(camera), background)


def _sent(look: Look, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the pixels of a source that count: colours, marked by which source they are of; where the camera
    shows them; and how deep."""
    source, camera = look.sources[number], look.camera
    nowhere = torch.full((camera.height, camera.width), torch.inf)
    found = warp(source.camera, source.depth, camera, nowhere, look.tolerance)
    kept = found.inside if source.counts is None else found.inside & source.counts
    if look.behind is not None:  # a pixel that shows nothing is no point
        kept = kept & source.depth.isfinite()
    colours = source.colours().permute(1, 2, 0)[kept]
    marked = torch.zeros(len(colours), len(look.rows))
    marked[:, number] = 1
    return torch.cat([colours, marked], dim=1), found.places[kept], found.depth[kept]
