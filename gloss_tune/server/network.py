"""Where a server listens, and from where one may come: never everywhere, never from everywhere."""

from __future__ import annotations

import errno
import ipaddress
import random
import socket
from collections.abc import Sequence

import psutil

from gloss_tune.errors import InputError
from gloss_tune.logging import logger

#: This machine alone.
HERE = "127.0.0.1"
#: Find an address that other machines reach.
AUTO = "auto"
# below the range that outgoing connections draw from, so that none takes the port while the server is stopped
_PORTS = range(15432, 32768)
# never connected to: the kernel only says which address it would go from (RFC 5737, RFC 3849)
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def resolve_listen(wanted: str) -> str | None:
    """An address of this machine for others to connect to; None for one that only this machine reaches.

    Args:
        wanted: an address, a host's name, or ``auto``.

    Raises:
        InputError: it is none of this machine's, or stands for all of them.
    """
    if wanted == AUTO:
        return _found()
    try:
        resolved = {str(info[4][0]) for info in socket.getaddrinfo(wanted, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise InputError(
            f"--listen is an address or a name of this machine, or auto; got {wanted!r}"
        ) from None
    chosen = next((address for address in sorted(resolved) if address in _own()), None)
    if any(ipaddress.ip_address(address).is_unspecified for address in resolved) or wanted in ("*", ""):
        raise InputError(
            f"--listen names the one address that the cluster reaches, not all ({wanted}); this machine has "
            f"{', '.join(_others()) or 'none but ' + HERE}; auto finds one"
        )
    if chosen is None and not all(ipaddress.ip_address(address).is_loopback for address in resolved):
        raise InputError(
            f"--listen {wanted} is no address of this machine, which has {', '.join(_others()) or 'none but ' + HERE}"
        )
    if chosen is None or ipaddress.ip_address(chosen).is_loopback:
        return None
    return chosen


def check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    """Networks as Postgres has them.

    Raises:
        InputError: one is none, or all of the world.
    """
    checked = []
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise InputError(f"--allow is a network, such as 10.1.0.0/16; got {text!r}") from None
        if network.prefixlen == 0:
            raise InputError(
                f"--allow {text} is the whole world; name the cluster's network, such as 10.1.0.0/16"
            )
        checked.append(str(network))
    return tuple(checked)


def choose_port(addresses: Sequence[str], wanted: int | None) -> int:
    """A port that is free on these addresses.

    Raises:
        InputError: the wanted one is not, or none is.
    """
    for port in [wanted] if wanted else random.SystemRandom().sample(_PORTS, 100):
        taken = [(address, why) for address in addresses if (why := _why_taken(address, port))]
        if not taken:
            return port
        if wanted:
            address, why = taken[0]
            raise InputError(f"Port {port} of {address} cannot be had ({why}); choose another --port")
    raise InputError(f"None of a hundred ports of {', '.join(addresses)} can be had; choose one by --port")


def warn_if_public(address: str) -> None:
    """Say so where the whole internet might reach it."""
    if ipaddress.ip_address(address).is_global:
        logger.warning(
            "%s is a public address: from outside of the networks that are let in, nobody gets to the password, "
            "but the port can be seen. A firewall in front of it, or a private address, is better.", address
        )  # fmt: skip


def _why_taken(address: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            return "it is in use" if in_use else str(error.strerror or error).lower()
    return None


def _found() -> str:
    """The address that this machine's name means, else the one that it goes out from."""
    others = _others()
    try:
        named = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        named = set()
    for address in others:
        if address in named:
            return address
    for family, far in _FAR_AWAY:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            address = str(probe.getsockname()[0])
            if address in others:
                return address
    if others:
        return others[0]
    raise InputError(
        f"This machine has no address but {HERE}, so that no other one can reach it; leave --listen out"
    )


def _own() -> list[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    return [
        part.address
        for parts in psutil.net_if_addrs().values()
        for part in parts
        if part.family in families and "%" not in part.address
    ]


def _others() -> list[str]:
    """This machine's addresses beyond itself, the fourth version's first."""
    found = [ipaddress.ip_address(address) for address in _own()]
    return [
        str(address)
        for address in sorted(found, key=lambda a: (a.version, int(a)))
        if not (address.is_loopback or address.is_link_local)
    ]
