"""Bring the runtime's actors up on a cluster, and take them down again. Blocking.

The singletons are named, detached and restarted for ever; a deploy keeps those of its own
fingerprint, and replaces the others. Completion actors of another one are let finish by the registry.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.calls import registry_peer
from actors.cluster.deployed import (
    LOCATION,
    Deployed,
    forget_provider_keys,
    publish_provider_keys,
)
from actors.cluster.free_port import free_port
from actors.core.errors import ActorAway, CompletionRuntimeError
from actors.ledger.actor import LedgerActor
from actors.ledger.client import LEDGER_NAME
from actors.ledger.store import StoreError
from actors.ports.registry import REGISTRY_NAME
from actors.registry.actor import RegistryActor
from actors.registry.draining import drain_ring
from actors.rpc.contracts import REGISTRY
from actors.settings import NAMESPACE, Settings
from actors.simulator.actor import SIMULATOR_NAME, UpstreamSimulator
from actors.upstream.config import Config

__all__ = ["DeployError", "deploy_actors", "drain_actors", "remove_actors"]

_log = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 60.0
_GONE_TIMEOUT_S = 10.0

_WARM_TIMEOUT_S = 30.0
_AGAIN_S = 0.2

_READY_MAX = 4
"""Completion actors that a deploy waits for, if the pool keeps as many warm."""

_CALLS_MAX = 100_000
"""Concurrent calls of an async actor; the default of 1,000 would let waiting starts block a cancel."""


class DeployError(RuntimeError):
    """The actors could not be brought up; the message is one sentence for the operator.

    Args:
        may_pass: whether another try may succeed: the machine was too busy.
        is_store: the store cannot be used, which is for the operator to mend.
    """

    def __init__(self, message: str, *, may_pass: bool = False, is_store: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.is_store = is_store


def deploy_actors(
    settings: Settings,
    config: Config,
    *,
    cluster: str = "",
    is_store_known: bool = False,
    demo_key_digest: str = "",
    provider_keys: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Create or keep the ledger, the registry and the simulator, and warm the pool of this node.

    Args:
        cluster: a name of its own, for a cluster that has none yet.
        is_store_known: it was made before: an empty one is refused.
        provider_keys: by the names that the configuration gives them; nodes may have others.

    Returns: `{"simulator": url or None, "actors": ready ones, "nodes": ids}`.
    Raises:
        DeployError: an actor did not come up.
    """
    deployed = replace(
        _plan(settings, config, demo_key_digest, cluster), is_store_known=is_store_known
    )
    deployed.publish()
    publish_provider_keys(provider_keys)
    here = NodeAffinitySchedulingStrategy(deployed.ledger_node_id, soft=False)
    # What has nothing on its node's disk is started on another when that node is dead.
    first_here = NodeAffinitySchedulingStrategy(deployed.ledger_node_id, soft=True)
    for_ledger = here if settings.database_url.startswith("sqlite:") else first_here
    try:
        if deployed.simulator_port:
            simulator = _singleton(SIMULATOR_NAME, UpstreamSimulator, here, deployed.fingerprint)
            _ask(simulator.describe)
        ledger = _singleton(LEDGER_NAME, LedgerActor, for_ledger, deployed.fingerprint)
        _ask(ledger.describe)
        registry = _singleton(REGISTRY_NAME, RegistryActor, first_here, deployed.fingerprint)
        _ask(registry.describe)
        # A burst shares what is there: as many as are kept warm carry hundreds at once.
        wanted = min(settings.actors_warm, settings.actors_per_node, _READY_MAX)
        wanted = wanted if settings.streams_per_actor == 1 else 1
        ready = asyncio.run(_warm(deployed, registry, wanted))
    except (CompletionRuntimeError, TimeoutError) as error:
        raise DeployError(f"No completion actor came up: {_reason(error)}") from error
    except ray.exceptions.RayError as error:
        # An error of the actor's own would come again; a late or lost process may not.
        is_own = isinstance(error, ray.exceptions.RayTaskError) or getattr(
            error, "actor_init_failed", False
        )
        is_store = isinstance(getattr(error, "cause", None), StoreError)
        message = _reason(error) if is_store else f"An actor did not come up: {_reason(error)}"
        raise DeployError(message, may_pass=not is_own, is_store=is_store) from error
    return {"simulator": deployed.simulator_url, "actors": ready}


def drain_actors(timeout_s: float, *, is_hurried: Callable[[], bool] = lambda: False) -> None:
    """Refuse new completions, let those that run end, then cancel the rest with source `shutdown`.

    Args:
        timeout_s: until they are cancelled; `is_hurried` cuts it short.
    """
    try:
        registry = ray.get_actor(REGISTRY_NAME, namespace=NAMESPACE)
        left = asyncio.run(_drain(Deployed.load(), registry, timeout_s, is_hurried))
    except (ValueError, LookupError):
        _log.warning("there is no registry, and so nothing to drain")
    else:
        if left:
            _log.warning("not all that ran was settled in time; the next start settles the rest")


async def _warm(deployed: Deployed, registry: Any, wanted: int) -> int:
    """Wait until so many completion actors stand; one at the least, however busy the machine is."""
    async with (
        asyncio.timeout(deployed.settings.start_timeout_s),
        aclosing(registry_peer(deployed, registry)) as peer,
    ):
        ready = 0
        while not ready:
            try:
                ready = await REGISTRY.client(peer).warm(wanted, _WARM_TIMEOUT_S)
            except ActorAway:
                await asyncio.sleep(_AGAIN_S)  # It does not listen yet, or has no time to answer.
        return ready


async def _drain(
    deployed: Deployed, registry: Any, timeout_s: float, is_hurried: Callable[[], bool]
) -> int:
    async with aclosing(registry_peer(deployed, registry)) as peer:
        return await drain_ring(REGISTRY.client(peer), timeout_s, is_hurried=is_hurried)


def remove_actors() -> None:
    """Kill every actor of the runtime, the ledger last: it takes what the others still say."""
    names = [
        entry["name"]
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if entry["namespace"] == NAMESPACE
    ]
    last = (SIMULATOR_NAME, LEDGER_NAME)
    for name in [n for n in names if n not in last] + [n for n in last if n in names]:
        if not _kill(name):
            _log.warning("%s was killed and has not ended within %g s", name, _GONE_TIMEOUT_S)
    forget_provider_keys()


def _plan(settings: Settings, config: Config, demo_key_digest: str, cluster: str) -> Deployed:
    """Keep the addresses of a deploy that stands; choose new ones otherwise."""
    node_id = ray.get_runtime_context().get_node_id()
    try:
        before = Deployed.load()
    except LookupError:
        before = None
    host, port = "", 0
    if config.simulator:
        if before is not None and before.simulator_port:
            host, port = before.simulator_host, before.simulator_port
        else:
            host = _simulator_host(settings)
            # The simulator binds it in its own process, and after every restart of that.
            port = free_port(host)
    return Deployed(
        settings,
        config,
        demo_key_digest=demo_key_digest,
        ledger_node_id=before.ledger_node_id if before else node_id,
        cluster=before.cluster if before and before.cluster else cluster,
        simulator_host=host,
        simulator_port=port,
        token=before.token if before and before.token else secrets.token_hex(32),
    )


def _simulator_host(settings: Settings) -> str:
    """On a loopback deploy the simulator is reached there alone; else on the node's own address."""
    if settings.host in ("127.0.0.1", "localhost", "::1") and len(_alive_nodes()) == 1:
        return "127.0.0.1"
    return str(ray.util.get_node_ip_address())


def _alive_nodes() -> list[str]:
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def _singleton(name: str, kind: type, where: Any, fingerprint: str) -> Any:
    try:
        handle = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        handle = None
    if handle is not None:
        if _fingerprint(handle) == fingerprint:
            return handle
        if not _kill(name):
            raise DeployError(f"{name} was killed and has not ended within {_GONE_TIMEOUT_S:g} s.")
    return (
        ray.remote(kind)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_CALLS_MAX,
            scheduling_strategy=where,
        )
        .remote(LOCATION)
    )


def _fingerprint(handle: Any) -> str | None:
    try:
        return cast("str | None", _ask(handle.describe).get("fingerprint"))
    except ray.exceptions.RayError:
        return None


def _ask(method: Any, *args: Any) -> Any:
    return ray.get(method.remote(*args), timeout=_CALL_TIMEOUT_S)


def _kill(name: str) -> bool:
    """Kill a named actor and wait until its name is free. Returns: whether it is, by the deadline."""
    try:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE))
    except ValueError:
        return True
    deadline_s = time.monotonic() + _GONE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            ray.get_actor(name, namespace=NAMESPACE)
        except ValueError:
            return True
        time.sleep(0.05)
    return False


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return lines[-1] if lines else type(cause).__name__
