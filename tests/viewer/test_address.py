"""Where the window can be found, and what is said where it cannot."""

import socket
import sys

import pytest

from rayformer.core.errors import ConfigError, MissingExtra
from rayformer.viewer import address
from rayformer.viewer.address import Address, claim, need_viser


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield other.getsockname()[1]


def test_a_port_that_is_taken_is_refused_and_no_other_one_put_in_its_place(taken, snapshot):
    with pytest.raises(ConfigError) as caught:
        claim("127.0.0.1", taken)
    snapshot("port_taken", str(caught.value).replace(str(taken), "PORT"))


def test_without_a_wish_the_next_free_port_is_found(taken, monkeypatch):
    monkeypatch.setattr(address, "FIRST_PORT", taken)
    monkeypatch.setattr(address, "LAST_PORT", min(taken + 50, 65535))
    assert claim("127.0.0.1", None).port > taken


def test_where_every_port_is_taken_that_is_said(taken, monkeypatch, snapshot):
    monkeypatch.setattr(address, "FIRST_PORT", taken)
    monkeypatch.setattr(address, "LAST_PORT", taken)
    with pytest.raises(ConfigError) as caught:
        claim("127.0.0.1", None)
    snapshot("every_port_taken", str(caught.value).replace(str(taken), "PORT"))


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [("host_elsewhere", "192.0.2.1", 8080), ("no_host", "no such host", 8080), ("no_port", "127.0.0.1", 0)],
)
def test_an_address_that_cannot_be_is_refused(name, host, port, snapshot):
    with pytest.raises(ConfigError) as caught:
        claim(host, port)
    snapshot(name, str(caught.value))


def test_a_port_that_was_claimed_can_be_opened_at_once(taken):
    other = claim("127.0.0.1", None)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", other.port))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://localhost:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_what_a_person_types(host, url):
    assert Address(host, 8080).url == url


def test_without_viser_the_extra_is_named(monkeypatch, snapshot):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(MissingExtra) as caught:
        need_viser()
    snapshot("no_viser", str(caught.value))
