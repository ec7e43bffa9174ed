"""What must be there before a window can be opened, refused before anything slow begins.

need_viser  the package that serves the page
Address     host and port, and how a person types them
claim       the address asked for, or the next free port where none was
"""

import errno
import logging
import os
import socket
from dataclasses import dataclass
from types import ModuleType

from rayformer.core.errors import ConfigError, MissingExtra

FIRST_PORT, LAST_PORT = 8080, 8179
"""Where a free port is looked for when none was asked for."""


def need_viser() -> ModuleType:
    """The module. It is slow to import, and only a window needs it. Raises MissingExtra."""
    try:
        import viser
    except ImportError as error:
        raise MissingExtra("view", "a window in the browser") from error
    logging.getLogger("websockets").setLevel(logging.ERROR)  # a browser that goes is no news
    return viser


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        """What a person opens. The address of every interface is reached as localhost from here."""
        host = "localhost" if self.is_everywhere else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_everywhere(self) -> bool:
        return self.host in ("0.0.0.0", "::")


def claim(host: str, port: int | None) -> Address:
    """`host` with `port`, or without one with the first free port from 8080 on.

    Nothing is held: whoever binds it makes sure that it got it. Raises ConfigError for a port that is taken
    or forbidden, and for a host that is none of this machine's.
    """
    if port is not None:
        _try(host, port)
        return Address(host, port)
    for candidate in range(FIRST_PORT, LAST_PORT + 1):
        try:
            _try(host, candidate)
            return Address(host, candidate)
        except PortTaken:
            continue
    raise ConfigError(
        f"every port from {FIRST_PORT} to {LAST_PORT} is taken on {host}.\n"
        "Close one of the programs, or name a port with --port N."
    )


class PortTaken(ConfigError):
    """Another program listens there."""

    def __init__(self, host: str, port: int):
        super().__init__(
            f"port {port} on {host} is taken: another program, perhaps another window, listens there.\n"
            "Close that program, name another port, or name none and the next free one is taken."
        )


def _try(host: str, port: int) -> None:
    """Bind the address and let it go again."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"a port must lie between 1 and 65535, but is {port}")
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host!r} is not the name of a machine.\n{_HOSTS}") from error
    for family, kind, protocol, _, place in places:
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # as the server does: a port that was closed a moment ago is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(place)
                probe.listen(1)
            except OSError as error:
                raise _refusal(error, host, port) from error


_HOSTS = "Give 127.0.0.1 for this machine alone, or 0.0.0.0 for everyone who can reach it."


def _refusal(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(host, port)
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            f"port {port} may not be opened: the system keeps it for itself.\nGive a port of 1024 or above."
        )
    return ConfigError(f"--host {host!r} is no address of this machine ({error.strerror}).\n{_HOSTS}")
