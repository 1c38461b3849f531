"""Hosts on one machine: a network namespace each, joined by a bridge in a namespace of its own.

Nothing but one interface of ours is seen by the machine itself, and its firewall, which may refuse
to forward, is not asked. What is made is named after this process, and `keeper` takes it away again,
also when this process is killed.

Source: ip-netns(8) and ip-link(8), iproute2 6.1, read 2026-11-22.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Host", "Network", "NetworkError", "names_of_this_process"]

_RANGE = ipaddress.ip_network("198.18.0.0/15")
"""Set aside for benchmarks of networks (RFC 2544): nobody's real hosts are there."""

_PREFIX = 29
_COMMAND_TIMEOUT_S = 20.0
_BRIDGE = "bridge"


class NetworkError(Exception):
    """The hosts cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Names:
    """Namespaces of the hosts and of the bridge, and the machine's own interface."""

    hosts: tuple[str, ...]
    bridge: str
    interface: str

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (*self.hosts, self.bridge)


def names_of_this_process(hosts: int = 2) -> Names:
    """Return names for so many hosts: at most five, which is what the subnet has room for."""
    own = f"ms{os.getpid()}"
    named = tuple(f"{own}{letter}" for letter in "abcde"[:hosts])
    return Names(hosts=named, bridge=f"{own}s", interface=f"{own}m")


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with an address. `run_in` goes before a command that shall run there."""

    name: str
    address: str

    @property
    def run_in(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)


class Network:
    """The bridge and the hosts; whoever makes it has a keeper that takes them away.

    `machine` is the machine's own address among theirs.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        subnet = _free_subnet()
        own, *addresses = (str(address) for address in subnet.hosts())
        for namespace in names.namespaces:
            _ip("netns", "add", namespace)
        _ip("-n", names.bridge, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", names.bridge, "link", "set", _BRIDGE, "up")
        self.hosts = tuple(
            self._host(name, address, gateway=own)
            for name, address in zip(names.hosts, addresses, strict=False)
        )
        self._join_machine(own)
        self.machine = own

    def cut(self, host: Host) -> None:
        """Pull the host's cable: nothing comes out of it or in, and nobody is told."""
        _ip("-n", self._names.bridge, "link", "set", host.name, "down")

    def mend(self, host: Host) -> None:
        _ip("-n", self._names.bridge, "link", "set", host.name, "up")

    def _host(self, name: str, address: str, *, gateway: str) -> Host:
        bridge = self._names.bridge
        cable = ("link", "add", name, "netns", bridge, "type", "veth", "peer", "name", "eth0")
        _ip(*cable, "netns", name)
        _ip("-n", bridge, "link", "set", name, "master", _BRIDGE, "up")
        _ip("-n", name, "address", "add", f"{address}/{_PREFIX}", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        # It leads nowhere: a host finds its own address by asking for the way out.
        _ip("-n", name, "route", "add", "default", "via", gateway)
        return Host(name, address)

    def _join_machine(self, address: str) -> None:
        bridge, interface = self._names.bridge, self._names.interface
        cable = ("link", "add", interface, "type", "veth", "peer", "name", interface)
        _ip(*cable, "netns", bridge)
        _ip("-n", bridge, "link", "set", interface, "master", _BRIDGE, "up")
        _ip("address", "add", f"{address}/{_PREFIX}", "dev", interface)
        _ip("link", "set", interface, "up")


def _free_subnet() -> ipaddress.IPv4Network:
    """Return a subnet that no interface of this machine is in; two runs begin to look apart."""
    taken = [
        ipaddress.ip_network(f"{entry['local']}/{entry['prefixlen']}", strict=False)
        for link in json.loads(_ip("-json", "-4", "address", "show"))
        for entry in link.get("addr_info", ())
    ]
    size = 2 ** (32 - _PREFIX)
    count = _RANGE.num_addresses // size
    for number in range(os.getpid(), os.getpid() + count):
        first = _RANGE.network_address + (number % count) * size
        subnet = ipaddress.IPv4Network((first, _PREFIX))
        if not any(subnet.overlaps(network) for network in taken):
            return subnet
    raise NetworkError(f"no part of {_RANGE} is free")


def _ip(*arguments: str) -> str:
    if shutil.which("ip") is None:
        raise NetworkError("iproute2 is not installed")
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
