"""A window in the browser: a function from cameras to pictures in, something to fly through out.

BrowserWindow     serves the page, hears where everyone looks, sends them pictures

The page and its connections belong to viser, which runs them in threads of its own. Drawing happens in
`work`, in the thread of whoever calls it, and nowhere else: a model is never asked by two threads at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.core.errors import ConfigError, UserError
from rayformer.runs.pictures import Picture, depth_colours
from rayformer.runs.run import Run
from rayformer.viewer.address import Address, PortTaken, need_viser
from rayformer.viewer.desk import Desk, Look, Order
from rayformer.viewer.frames import Frame
from rayformer.viewer.furniture import Furniture
from rayformer.viewer.pace import Pace
from rayformer.viewer.painter import Painter
from rayformer.viewer.panel import Panel
from rayformer.viewer.show import Drawn, Show

if TYPE_CHECKING:
    import viser

FARTHEST = 160.0
"""Depth in the window of what is not there: nearly as far as the page can tell."""
ROUGH, FINE = 75, 92
"""JPEG quality of pictures that are seen for a moment, and of those that stay."""


class BrowserWindow:
    def __init__(
        self,
        show: Show,
        run: Run,
        address: Address,
        moving_s: float = 0.1,
        longest_s: float | None = None,
    ):
        """Serve `show` at `address`, keeping in `run` what people keep. A moving picture may take `moving_s`,
        the finest one `longest_s`. Raises ConfigError if the port was taken meanwhile."""
        self.show, self.run, self.address = show, run, address
        self.frame = Frame.for_unit(show.unit)
        self.desk = Desk(Pace(moving_s, longest_s=longest_s))
        self.painter = Painter(self.desk, show.draw, self._deliver, self._refuse, whole=show.whole)
        self._note = ""
        self.server = _served(address, show.title)
        try:
            self._arrange()
        except BaseException:
            self.close()
            raise

    def _arrange(self) -> None:
        server, show = self.server, self.show
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        server.scene.set_up_direction(show.up.numpy().astype(float))
        _, position = self.frame.to_window(show.start.pose)
        ahead = -show.start.pose[:3, 2].numpy()
        # On the optical axis, as near to the centre as that comes, so that the first look is the start's own.
        # The way up is the scene's: turning around the start's own would tip the scene over.
        distance = float((show.centre.numpy() - show.start.pose[:3, 3].numpy()) @ ahead)
        distance = min(max(distance, 0.1 * show.far), show.far) * self.frame.scale
        server.initial_camera.position = position
        server.initial_camera.look_at = position + distance * ahead
        server.initial_camera.fov = np.radians(show.start.fov_y_degrees)
        self.furniture = Furniture(server, show, self.frame)
        self.panel = Panel(
            server, show, self.run, self.frame, self.furniture, self._wish_all, self._order_snapshot
        )
        server.on_client_disconnect(lambda client: self.desk.leave(client.client_id))
        server.on_client_connect(self._welcome)

    # ------------------------------------------------------------------ for whoever draws

    def work(self, seconds: float, wait: bool = True) -> None:
        """Draw what is wanted for about `seconds`; where nothing is, wait so long for a wish, unless told
        not to."""
        if not self.painter.paint(seconds) and wait:
            self.desk.wait(seconds)

    def is_waited_for(self, again: bool = False) -> bool:
        """Whether somebody waits for a picture; with `again`, also for a newer one of what they have."""
        if again:
            self.desk.again()
        return self.desk.next() is not None

    @property
    def visitors(self) -> int:
        """How many browsers look at present."""
        return self.desk.visitors

    def note(self, text: str) -> None:
        """What the model is at, shown above the controls with the next picture."""
        self._note = text

    def relax(self) -> None:
        """There is all the time in the world from now on: pictures may be as fine as they like."""
        self.desk.pace.longest_s = None
        self.desk.pace.moving_s = 0.1

    def close(self) -> None:
        if hasattr(self, "furniture"):
            self.furniture.close()
        with _silence():
            self.server.stop()

    def __enter__(self) -> "BrowserWindow":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------ hearing the browsers

    def _welcome(self, client: "viser.ClientHandle") -> None:
        client.camera.on_update(lambda camera: self._wish(camera.client))
        self._wish(client)

    def _wish(self, client: "viser.ClientHandle") -> None:
        look = self._look(client, self.panel.most_rows)
        if look is not None and client.client_id in self.server.get_clients():
            self.desk.wish(client.client_id, look)

    def _wish_all(self) -> None:
        for client in self.server.get_clients().values():
            self._wish(client)

    def _look(self, client: "viser.ClientHandle", most_rows: int, exactly: bool = False) -> Look | None:
        """What a browser shows, in no more than `most_rows`, or exactly so many."""
        camera = client.camera
        width, height = camera.image_width, camera.image_height
        if width < 1 or height < 1:  # a window that is folded away
            return None
        if exactly:
            width, height = max(1, round(width * most_rows / height)), most_rows
        seen = self.frame.camera(camera.wxyz, camera.position, float(camera.fov), (width, height), most_rows)
        return Look(seen, self.panel.style)

    def _order_snapshot(self, client: "viser.ClientHandle", rows: int) -> None:
        look = self._look(client, rows, exactly=True)
        if look is not None:
            self.desk.snapshot(client.client_id, look)

    # ------------------------------------------------------------------ sending pictures

    def _deliver(self, order: Order, drawn: Drawn, seconds: float) -> None:
        pixels = coloured(drawn, order.style.what)
        if order.kind == "snapshot":
            self._keep(order, pixels)
            return
        client = self.server.get_clients().get(order.who)
        if client is None:
            return
        moving = order.kind == "moving"
        client.scene.set_background_image(
            pixels,
            format="jpeg",
            jpeg_quality=ROUGH if moving else FINE,
            depth=packed_depth(drawn.depth, self.frame.scale),
        )
        client.flush()
        camera = order.camera
        size = f"{camera.width} x {camera.height} in {seconds:.2f} s"
        if not moving:
            self.panel.say(f"{self._note} · {size}")

    def _keep(self, order: Order, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        client = self.server.get_clients().get(order.who)
        taken = [name for name, _, _ in self.run.pictures() if name.startswith("snapshots/")]
        last = max((int(name[-4:]) for name in taken if name[-4:].isdecimal()), default=0)
        name = f"snapshots/{last + 1:04d}"
        caption = f"snapshot of the {order.style.what}, {self._note}"
        try:
            path = self.run.save_picture(name, Picture(pixels, caption))
        except UserError as error:
            if client is not None:
                self.panel.tell(client, "Not kept", str(error), failed=True)
            return
        if client is not None:
            self.panel.tell(client, "Snapshot", str(path))

    def _refuse(self, order: Order, error: UserError) -> None:
        if order.kind == "snapshot" and (client := self.server.get_clients().get(order.who)) is not None:
            self.panel.tell(client, "No snapshot", str(error), failed=True)
        self.panel.say(f"No picture from here: {error}")


def coloured(drawn: Drawn, what: str) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels that are shown: colour as it is, or depth as colours from the nearest to the farthest."""
    if what == "colour":
        return drawn.colour
    there = drawn.depth[np.isfinite(drawn.depth)]
    near, far = np.percentile(there, [1, 99]).tolist() if there.size else (0.0, 1.0)
    return depth_colours(drawn.depth, near, max(far, near + 1e-6))


def packed_depth(depth: Float[np.ndarray, "height width"], scale: float) -> Float[np.ndarray, "height width"]:
    """Depth in the window's units, ready to be sent: nothing is far away, and no finer than can be seen.

    It travels as a PNG of 24 bits in steps of 1e-5. Noise in the last 8 of them would make it three times
    as large, and slower to pack than the picture is to draw.
    """
    step = 256e-5
    shown = np.where(np.isfinite(depth), depth * scale, FARTHEST).clip(0, FARTHEST)
    return (np.round(shown / step) * step + 0.5e-5).astype(np.float64)


def _served(address: Address, title: str) -> "viser.ViserServer":
    """viser at exactly that address. It would go to another port by itself, where nobody looks for it."""
    viser = need_viser()
    with _silence():
        server = viser.ViserServer(host=address.host, port=address.port, label=title, verbose=False)
        # A page of somebody else's that finds the port could otherwise ask for a public address.
        server.request_share_url = lambda verbose=True: None
        if server.get_port() != address.port:
            server.stop()
            if server.get_port() == address.port + 1:
                raise PortTaken(address.host, address.port)
            raise ConfigError(
                f"viser opened port {server.get_port()} instead of {address.port}.\n"
                "Is _VISER_PORT_OVERRIDE set in the environment? Unset it, and use --port."
            )
    return server


@contextmanager
def _silence() -> Iterator[None]:
    """viser announces itself on stdout, which is ours."""
    from rich import get_console

    console = get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
