"""What every actor and replica of a deploy must know: settings, configuration, addresses.

It is kept in the cluster's own key-value store, so that an actor's constructor needs nothing but
the location: one that Ray restarts after a crash finds what is in force now, on whatever node.

Providers' keys are kept there too, apart from the rest: in the memory of Ray's control process, whose
calls demand its token, and in no worker's environment. A node may have keys of its own, in its
environment; those that the deploy gave come first.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_put,
)

from actors.rpc.contracts import fingerprint as contracts_fingerprint
from actors.rpc.tcp import TcpTransport
from actors.settings import NAMESPACE, PROTOCOL_VERSION, Settings
from actors.upstream.catalogue import Catalogue
from actors.upstream.config import Config

__all__ = ["LOCATION", "Deployed", "forget_provider_keys", "provider_keys", "publish_provider_keys"]

LOCATION = "deployed"
"""The key of the one deploy that a cluster holds."""

_KEYS_LOCATION = "provider-keys"


def publish_provider_keys(keys: Mapping[str, str]) -> None:
    """Keep the keys by the names that the configuration gives them, in place of any before. Blocking."""
    data = json.dumps(dict(keys)).encode()
    _internal_kv_put(_KEYS_LOCATION, data, overwrite=True, namespace=NAMESPACE.encode())


def forget_provider_keys() -> None:
    """Blocking."""
    _internal_kv_del(_KEYS_LOCATION, namespace=NAMESPACE.encode())


def provider_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that this process may need, by name: the deploy's, else its node's. Blocking."""
    data = _internal_kv_get(_KEYS_LOCATION, namespace=NAMESPACE.encode())
    return {**environment, **(json.loads(data) if data else {})}


@dataclass(frozen=True, slots=True)
class Deployed:
    """What stands for the whole deploy; a later one replaces it.

    Args:
        cluster: what tells this cluster from others that are given the same database.
        is_store_known: it was made before this deploy; it is no difference between two.
        simulator_host, simulator_port: where the simulator listens; port 0 is none.
        token: the secret by which the deploy's processes know one another; later deploys keep it.
    """

    settings: Settings
    config: Config
    demo_key_digest: str = ""
    ledger_node_id: str = ""
    cluster: str = ""
    is_store_known: bool = False
    simulator_host: str = ""
    simulator_port: int = 0
    token: str = field(default="", repr=False)

    @property
    def simulator_url(self) -> str | None:
        if not self.simulator_port:
            return None
        return f"http://{self.simulator_host}:{self.simulator_port}"

    @property
    def fingerprint(self) -> str:
        """What differs between two deploys: the release, the protocol, the settings, the configuration."""
        what = replace(self, is_store_known=False)
        parts = (importlib.metadata.version("midstream"), str(PROTOCOL_VERSION), what._to_json())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def transport(self) -> TcpTransport:
        """Return how this process reaches the deploy's others, and they it."""
        return TcpTransport(self.token, contracts_fingerprint())

    def catalogue(self) -> Catalogue:
        return Catalogue(self.config, simulator_url=self.simulator_url)

    def publish(self) -> str:
        """Store it; return its location. Blocking."""
        _internal_kv_put(
            LOCATION, self._to_json().encode(), overwrite=True, namespace=NAMESPACE.encode()
        )
        return LOCATION

    @classmethod
    def load(cls, location: str = LOCATION) -> Deployed:
        """Read what is in force. Blocking.

        Raises: LookupError: nothing was deployed on this cluster.
        """
        data = _internal_kv_get(location, namespace=NAMESPACE.encode())
        if data is None:
            raise LookupError("Midstream is not deployed on this cluster.")
        value = json.loads(data)
        return cls(
            **{
                **value,
                "settings": Settings.from_json(value["settings"]),
                "config": Config.model_validate_json(value["config"]),
            }
        )

    def _to_json(self) -> str:
        value = {
            "settings": self.settings.to_json(),
            "config": self.config.model_dump_json(),
            "demo_key_digest": self.demo_key_digest,
            "ledger_node_id": self.ledger_node_id,
            "cluster": self.cluster,
            "is_store_known": self.is_store_known,
            "simulator_host": self.simulator_host,
            "simulator_port": self.simulator_port,
            "token": self.token,
        }
        return json.dumps(value)
