"""This machine's part in a Ray cluster: start a private one, or join one that runs. Blocking.

The variables that Ray reads must be in this process's environment before this module is imported.
A private node's daemons are children of this process and die with it, however it ends.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.settings import NAMESPACE

__all__ = [
    "ClusterError",
    "NodeFacts",
    "NodeTimedOut",
    "alive_nodes",
    "ask_nodes",
    "join",
    "leave",
    "own_addresses",
    "own_versions",
    "start_private",
]

_CPUS_MAX = 4
"""Ray starts a worker per CPU ahead of need; our actors ask for none, so more would only cost."""

_ASK_TIMEOUT_S = 60.0
_CONNECT_TIMEOUT_S = 5.0


class ClusterError(RuntimeError):
    """The cluster cannot be started or joined; the message is one sentence for the operator."""

    may_pass = False
    """Whether another try may succeed."""


class NodeTimedOut(ClusterError):
    """This machine was too busy for Ray's own limits."""

    may_pass = True


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself. `versions` and `variables` may lack names."""

    address: str
    versions: Mapping[str, str]
    variables: Mapping[str, str | None]


def start_private(directory: Path, *, object_store_bytes: int, is_verbose: bool) -> str:
    """Start a Ray of this process's own and connect to it; return its address.

    Args:
        directory: where it keeps sessions and logs; short enough for its sockets.

    Raises: ClusterError. NodeTimedOut: some of its processes may be there still.
    """
    try:
        context = ray.init(
            address="local",
            namespace=NAMESPACE,
            num_cpus=min(os.cpu_count() or 1, _CPUS_MAX),
            object_store_memory=object_store_bytes,
            include_dashboard=False,
            log_to_driver=is_verbose,
            logging_level=logging.INFO if is_verbose else logging.ERROR,
            _temp_dir=str(directory),
        )
    except ValueError as error:
        raise ClusterError(f"Ray did not start: {_first_line(error)}") from error
    except Exception as error:
        # What Ray's own waits raise at their end is a plain `Exception`.
        raise NodeTimedOut(f"Ray did not start: {_first_line(error)}") from error
    return str(context.address_info["gcs_address"])


def join(address: str, *, is_verbose: bool) -> str:
    """Connect to a running cluster; return its address.

    Args:
        address: HOST:PORT of its head, or "auto" for the one that this node belongs to.

    Raises: ClusterError: nobody answers there, another version runs there, or our token is refused.
    """
    if address != "auto" and not _answers(address):
        raise ClusterError(f"No Ray cluster answers at {address}.")
    try:
        context = ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=is_verbose,
            logging_level=logging.INFO if is_verbose else logging.ERROR,
        )
    except ray.exceptions.AuthenticationError:
        raise ClusterError(
            f"The Ray cluster at {address} refused the token: set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to what it was started with."
        ) from None
    except ConnectionError:
        if address == "auto":
            raise ClusterError("No Ray runs on this machine that could be joined.") from None
        # Something listens there; a GCS that gets no token, or the wrong one, just hangs up.
        raise ClusterError(
            f"{address} lets nobody in who has not the cluster's token, or is no Ray: set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as on its nodes."
        ) from None
    except (RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {address} cannot be joined: {_first_line(error)}") from error
    return str(context.address_info["gcs_address"])


def leave() -> None:
    """Disconnect; a private Ray's processes have ended when this returns. Idempotent."""
    ray.shutdown(wait_for_processes=True)


def alive_nodes() -> list[str]:
    """Return the ids of the nodes that are alive, sorted."""
    return sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])


def own_addresses() -> tuple[tuple[str, int], tuple[str, int]]:
    """Return where this node's raylet and the cluster's GCS listen."""
    context = ray.get_runtime_context()
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    host, _, port = str(context.gcs_address).rpartition(":")
    raylet = str(own["NodeManagerAddress"]), int(own["NodeManagerPort"])
    return raylet, (host.strip("[]"), int(port))


def ask_nodes(names: list[str]) -> list[NodeFacts]:
    """Ask every node for its versions and for the variables of these names.

    Raises: ClusterError: a node cannot run our code.
    """
    ask = ray.remote(_facts)
    asked = []
    for node in alive_nodes():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        options = ask.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        asked.append(options.remote(names))
    try:
        return [NodeFacts(*facts) for facts in ray.get(asked, timeout=_ASK_TIMEOUT_S)]
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"A node of the cluster cannot run Midstream; is it installed on all of them? "
            f"({_last_line(error)})"
        ) from error


def own_versions() -> dict[str, str]:
    """Return what must be the same on all nodes."""
    return {
        "Python": ".".join(map(str, sys.version_info[:2])),
        "Ray": ray.__version__,
        "Midstream": importlib.metadata.version("midstream"),
    }


def _facts(names: list[str]) -> tuple[str, dict[str, str], dict[str, str | None]]:
    """Run by a worker of the node that is asked."""
    address = str(ray.util.get_node_ip_address())
    return address, own_versions(), {name: os.environ.get(name) for name in names}


def _answers(address: str) -> bool:
    # Ray itself would try for a minute.
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    return next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)
