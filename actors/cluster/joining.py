"""How a replica joins the deploy of its cluster."""

from __future__ import annotations

import os
import secrets

import ray

from actors.cluster.calls import registry_peer
from actors.cluster.deployed import Deployed, provider_keys
from actors.cluster.directory import ways_to_carriers
from actors.ledger.client import LEDGER_NAME, far_ledger
from actors.ports.registry import REGISTRY_NAME
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contracts import REGISTRY
from actors.settings import NAMESPACE
from actors.upstream.native_responses import NativeResponses

__all__ = ["connect"]


def connect(location: str) -> tuple[ReplicaRuntime, Deployed]:
    """Join the deploy of this cluster from a replica. Blocking: call it off any event loop.

    Raises: LookupError: nothing is deployed. ValueError: an actor of the deploy is missing.
    """
    deployed = Deployed.load(location)
    ledger_actor = ray.get_actor(LEDGER_NAME, namespace=NAMESPACE)
    ledger = far_ledger(ledger_actor, deployed.transport())
    registry = registry_peer(deployed, ray.get_actor(REGISTRY_NAME, namespace=NAMESPACE))
    node_id = ray.get_runtime_context().get_node_id()
    settings = deployed.settings
    native = NativeResponses(
        deployed.catalogue().provider, settings=settings, keys=provider_keys(os.environ)
    )
    runtime = ReplicaRuntime(
        ways_to_carriers(deployed),
        REGISTRY.client(registry),
        ledger,
        settings=settings,
        replica=f"{node_id}-{secrets.token_hex(8)}",
        node_id=node_id,
        native=native,
        simulator_url=deployed.simulator_url,
    )
    return runtime, deployed
