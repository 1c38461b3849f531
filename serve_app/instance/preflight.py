"""What must be true before anything is started; each failure is one sentence that names the remedy."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from actors.ledger.store import Store, StoreError, check_sound
from actors.settings import Settings
from serve_app.instance.data_directory import ClusterNote, InstanceError
from serve_app.instance.processes import port_holder

__all__ = ["check_no_other_ray", "check_ports", "check_shared_memory", "check_store"]

_log = logging.getLogger(__name__)

_SHARED_MEMORY = Path("/dev/shm")
_RAY_ADDRESS_FILE = Path("ray/ray_current_cluster")
_CONNECT_TIMEOUT_S = 1.0


def check_ports(settings: Settings) -> None:
    """Raises: InstanceError: a port that the proxy needs is taken, or may not be taken."""
    _check_port(settings.host, settings.port, "choose another with --port")
    if settings.proxy == "haproxy":
        remedy = "choose another for HAProxy with {}"
        for port, name in (
            (settings.haproxy_stats_port, "MIDSTREAM_HAPROXY_STATS_PORT"),
            (settings.haproxy_metrics_port, "MIDSTREAM_HAPROXY_METRICS_PORT"),
        ):
            _check_port("127.0.0.1", port, remedy.format(name))


def check_shared_memory(settings: Settings) -> None:
    """Raises: InstanceError: Ray's object store does not fit into /dev/shm."""
    try:
        status = os.statvfs(_SHARED_MEMORY)
    except OSError as error:
        raise InstanceError(f"{_SHARED_MEMORY} cannot be used: {error.strerror}.") from None
    free = status.f_bavail * status.f_frsize
    if free < settings.object_store_bytes:
        raise InstanceError(
            f"{_SHARED_MEMORY} has {free >> 20} MiB free where Ray's object store needs "
            f"{settings.object_store_bytes >> 20} MiB: enlarge it (docker run --shm-size), or set "
            "MIDSTREAM_OBJECT_STORE_BYTES to less."
        )


def check_no_other_ray(environment: Mapping[str, str], temporary: Path = Path("/tmp")) -> None:
    """Raises: InstanceError: a Ray that the user did not name runs on this machine."""
    address = environment.get("RAY_ADDRESS", "")
    if address:
        raise InstanceError(
            f"RAY_ADDRESS names a Ray cluster: use --address {address} to join it, or unset it."
        )
    try:
        address = (temporary / _RAY_ADDRESS_FILE).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return
    if _answers(address):
        raise InstanceError(
            f"Ray is already running on this machine, at {address}: "
            f"use --address {address} to join it, or stop it first."
        )


def check_store(settings: Settings, cluster: ClusterNote) -> None:
    """Open a SQLite file, as the ledger will, and look through it.

    What is wrong with a PostgreSQL database the ledger itself says, where it runs.

    Raises: InstanceError: it is in use, foreign, too new, full, read-only, damaged, or not the one that was.
    """
    if not settings.database_url.startswith("sqlite:"):
        return
    try:
        store = Store(
            settings.database_url,
            cluster=cluster.name,
            is_known=cluster.knows_store(settings.database),
        )
        with closing(store):
            if not check_sound(store):
                _log.warning("the store %s was not looked through to its end", store.place)
    except StoreError as error:
        raise InstanceError(str(error)) from error


def _check_port(host: str, port: int, remedy: str) -> None:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise InstanceError(f"{host} is not an address: choose one with --host.") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of the last run that linger do not hold the port; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except PermissionError:
            raise InstanceError(f"Port {port} may not be taken by this user: {remedy}.") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InstanceError(
                    f"Port {port} is held by {port_holder(port)}: {remedy}."
                ) from None
            raise InstanceError(f"{host} cannot be listened on: {error.strerror}.") from None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False
