"""The light of photographs: fitted to half of a new one, shown beside others.

FIT             how a code is fitted
fitted_code     the code under which a field, which stays as it is, explains some rays best
left_half       the pixels that it may be fitted to, where the right half is to be judged
fitted_to_half  a held-out photograph's code, of its left half
wild_pictures   what a field in the wild makes of the light, and of what passes by

The protocol of Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268, section 5: nobody knows the
light of a photograph that was held out, so it is looked for in the left half of it, and what is rendered in
that light is compared with the right half alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import Scene, evenly
from rayformer.fields.parts.in_the_wild import Encounter, WildField
from rayformer.fields.parts.scene_field import AppearingField
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays, pixel_grid
from rayformer.recipes.parts.scene_view import Window, rays_at_once, render_camera
from rayformer.runs.pictures import Picture, error_colours, side_by_side

Sight = Callable[[int], tuple[Rays, Float[Tensor, "rays 3"], Float[Tensor, "rays 3"]]]
"""Of the number of a step: some rays, their colours, and what is behind them."""

LIGHTS = 5
"""So many photographs' lights are shown on one view, and what passes before half as many, rounded up."""
DOUBT = 0.5
"""The doubt at which the picture of it is as bright as it gets."""


@dataclass(frozen=True)
class Fit:
    """Adam, with a rate that falls to zero, and a short memory: few steps must do."""

    steps: int = 50
    rays: int = 512
    rate: float = 0.05


FIT = Fit()


def fitted_code(
    field: AppearingField, sight: Sight, start: Float[Tensor, "features"] | None = None, fit: Fit = FIT
) -> Float[Tensor, "features"]:
    """The code under which `field` explains best, in the squared error, what `sight` shows; the field itself
    stays as it is. Begins at `start`, or at the usual code."""
    begun = field.usual_code() if start is None else start
    code = begun.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([code], lr=fit.rate, betas=(0.8, 0.95))
    with torch.enable_grad(), _frozen(field):
        for step in range(fit.steps):
            optimiser.param_groups[0]["lr"] = fit.rate * (1 - step / fit.steps)
            rays, colours, background = sight(step)
            error = (field.in_light(code).render(rays, background).colour - colours).square().mean()
            (code.grad,) = torch.autograd.grad(error, [code])
            optimiser.step()
    return code.detach()


@contextmanager
def _frozen(field: AppearingField) -> Iterator[None]:
    """The field without anything to learn for a while, so that nothing is kept for gradients but what the
    code goes through."""
    values = field.parameters() if isinstance(field, nn.Module) else ()
    learned = [value for value in values if value.requires_grad]
    try:
        for value in learned:
            value.requires_grad_(False)
        yield
    finally:
        for value in learned:
            value.requires_grad_(True)


def left_half(store: PixelStore, row: int = 0) -> Int[Tensor, "pixels"]:
    """Numbers of the usable pixels in the left half of one view; of an odd width, without the middle
    column."""
    first, last = store.span(row)
    numbers = torch.arange(first, last)
    pixels = numbers if store.selection is None else store.selection(numbers)
    width = store.widths[row]
    return numbers[(pixels - store.starts[row]) % width < width // 2]


def fitted_to_half(
    field: AppearingField, alone: Scene, window: Window, device: torch.device, seed: int
) -> Float[Tensor, "features"]:
    """The code of the one testing view of `alone`, fitted to its left half; the usual one where the left half
    has no pixel that counts."""
    store = PixelStore(alone, "test")
    half = left_half(store)
    if not len(half):
        return field.usual_code()
    behind = torch.tensor([window.background]).expand(FIT.rays, 3)

    def sight(step: int) -> tuple[Rays, Tensor, Tensor]:
        chosen = torch.randint(len(half), (FIT.rays,), generator=stream(seed, "fit a light", step))
        rays, colours, _ = store.rays(half[chosen])
        rays = window.scene.to_ndc(rays) if window.ndc else rays
        return rays.to(device), colours.to(device), behind.to(device)

    return fitted_code(field, sight)


# ---------------------------------------------------------------------------- pictures


@torch.no_grad()
def wild_pictures(
    field: AppearingField, scene: Scene, window: Window, device: torch.device
) -> dict[str, Picture]:
    """One held-out view in the light of some photographs; and some photographs beside what the field has of
    them: the scene in their light, what passes by alone, and the doubt."""
    train = [view for view in scene.split("train") if view.scale == 1]
    rows = evenly(range(len(train)), LIGHTS)
    shown = {}
    if field.code_size:
        camera = (scene.split("test") or scene.split("val") or train)[0].camera
        rendered = [
            Picture(render_camera(field.in_light(field.code_of(row)), camera, window, device).colour)
            for row in rows
        ]
        names = [train[row].name for row in rows]
        shown["lights/one-view"] = side_by_side(
            rendered, names, caption=f"one held-out view in the light of {', '.join(names)}"
        )
    if isinstance(field, WildField) and field.head is not None:
        for row in rows[::2]:
            shown[f"photographs/{row:04d}"] = _apart(
                field, replace(scene, views=(train[row],)), row, window, device
            )
    return shown


def _apart(field: WildField, alone: Scene, row: int, window: Window, device: torch.device) -> Picture:
    """A training photograph, and what the field has of it, kind by kind."""
    camera, photograph, _ = PixelStore(alone, "train").view(0)
    lit = field.in_light(field.code_of(row)) if field.code_size else field
    met = _met(field, camera, row, window, device)
    passing = met.passing + 0.5 * (1 - met.hidden)[:, None]
    shape = (camera.height, camera.width)
    pictures = [
        _bytes(photograph.view(*shape, 3)),
        render_camera(lit, camera, window, device).colour,
        _bytes(passing.view(*shape, 3)),
        error_colours(met.doubt.view(shape).cpu().numpy(), DOUBT),
    ]
    return side_by_side(
        [Picture(pixels) for pixels in pictures],
        ["photograph", "the scene in its light", "what passes by, on grey", f"doubt, 0 to {DOUBT:g}"],
        caption=f"training view {alone.views[0].name}: what passes by hides "
        f"{met.hidden.mean().item():.0%} of it",
    )


def _met(field: WildField, camera: Camera, row: int, window: Window, device: torch.device) -> Encounter:
    """What the rays of a whole training photograph meet."""
    parts = []
    for pixels in pixel_grid(camera.width, camera.height).split(rays_at_once(field, device)):
        rays = window.rays(camera, pixels).to(device)
        parts.append(field.meets(rays.replaced(view=torch.full((len(rays),), row, device=device))))
    names = ("scene", "passing", "doubt", "hidden", "opacity", "density")
    return Encounter(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _bytes(colours: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (colours.clamp(0, 1) * 255).round().byte().cpu().numpy()
