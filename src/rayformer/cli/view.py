"""`rayformer view`: a trained scene in a window of the browser, until Ctrl-C.

run          claim the address, load the run, draw until somebody ends it
claimed      where the window will be, refused before anything slow begins
port_number  an option's value
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rayformer.cli.abilities import able_run, open_able
from rayformer.cli.options import Options, add_device
from rayformer.cli.output import say

if TYPE_CHECKING:
    from rayformer.viewer.address import Address

HOST = "127.0.0.1"


def run(words: Sequence[str], usage: str) -> int:
    options = Options(
        usage,
        "Fly through a trained scene in the browser: colour or depth, the cameras of the photographs, camera "
        "paths for `rayformer render`, snapshots. Ctrl-C ends it.",
    )
    options.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    options.add_argument(
        "--host",
        metavar="ADDRESS",
        default=HOST,
        help="where to listen; 0.0.0.0 lets everyone in who can reach this machine (default: 127.0.0.1)",
    )
    options.add_argument(
        "--port", metavar="N", type=port_number, help="default: 8080, or the next one that is free"
    )
    add_device(options)
    values = options.read(words)
    able_run(values.run, "view")
    address = claimed(values.host, values.port)
    loaded = open_able(values.run, "view", values.device)

    from rayformer.recipes.parts.scene_window import view_run

    def opened(url: str) -> None:
        print(url, flush=True)
        say("- open it in a browser; Ctrl-C ends it")

    view_run(loaded, address, opened)
    return 0


def claimed(host: str, port: int | None) -> "Address":
    """The address of the window. Raises MissingExtra without viser, ConfigError where it is not to be had."""
    from rayformer.viewer.address import FIRST_PORT, claim, need_viser

    need_viser()
    address = claim(host, port)
    if port is None and address.port != FIRST_PORT:
        say(f"- port {FIRST_PORT} is taken; the window is on port {address.port}")
    if address.is_everywhere:
        say("- everyone who can reach this machine can look, and save snapshots and camera paths in the run")
    return address


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a port, a whole number from 1 to 65535, but is {text!r}")
    return int(text)
