"""Every number that an operator may turn, in one frozen value, read from the environment once.

Each field is `MIDSTREAM_<NAME>` in upper case. The value is passed down; nothing else reads the
environment, except a provider's API key under the name that the configuration gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

__all__ = ["NAMESPACE", "PROTOCOL_VERSION", "Settings", "SettingsError"]

NAMESPACE = "midstream"
"""The Ray namespace of every actor, and the Serve application's name."""

PROTOCOL_VERSION = 1
"""What actors of one deploy must agree on; raised whenever a message between actors changes."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    # Where it listens, and where it keeps things.
    host: str = "127.0.0.1"
    port: int = 8000
    data_dir: str = ""  # "" is ~/.midstream
    database: str = ""  # "" is SQLite in the data directory; else a postgresql:// URL
    config: str = ""  # the providers and models file; "" is the built-in catalogue alone
    proxy: str = "haproxy"  # or "python"
    replicas_per_node: int = 2
    haproxy_stats_port: int = 8404
    haproxy_metrics_port: int = 9101
    cors_allow_origin: str = ""  # "" is off

    # How much runs at once.
    streams_per_actor: int = 1
    actors_per_node: int = 64  # 48 MB and 0.8 % of a core each while idle
    actors_warm: int = 4  # free actors that a node's pool grows towards
    admission_timeout_s: float = 30.0

    # How long things may take.
    body_timeout_s: float = 30.0  # for a whole request body to arrive
    headers_after_s: float = 1.0
    keep_alive_s: float = 15.0
    connect_timeout_s: float = 10.0
    first_token_timeout_s: float = 60.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 900.0
    cancel_timeout_s: float = 5.0
    reader_grace_s: float = 5.0
    drain_timeout_s: float = 10.0

    # How large things may get.
    body_bytes_max: int = 10 * 1024 * 1024
    log_bytes_max: int = 16 * 1024 * 1024
    frame_bytes_max: int = 4 * 1024 * 1024  # one upstream SSE frame
    record_ttl_s: float = 86_400.0
    records_bytes_max: int = 10 * 1024**3
    object_store_bytes: int = 256 * 1024 * 1024

    # Secrets, as SHA-256 digests in hex: never the secret itself.
    admin_key_digest: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read `MIDSTREAM_<NAME>` for every field.

        Raises:
            SettingsError: a value that is not of the field's type.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = f"MIDSTREAM_{field.name.upper()}"
            if name in environment:
                values[field.name] = _parse(name, environment[name], type(field.default))
        return cls(**values).checked()

    def with_changes(self, **changes: Any) -> Settings:
        """Return a copy; members that are None are left as they are."""
        return replace(
            self, **{name: value for name, value in changes.items() if value is not None}
        ).checked()

    def checked(self) -> Settings:
        """Return self.

        Raises:
            SettingsError: a number out of range.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0:
                raise SettingsError(f"{field.name} must be above 0, not {value}.")
        if self.proxy not in ("haproxy", "python"):
            raise SettingsError(f"proxy must be haproxy or python, not {self.proxy!r}.")
        if self.port > 65_535:
            raise SettingsError(f"port must be at most 65535, not {self.port}.")
        return self

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser() if self.data_dir else Path.home() / ".midstream"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data_path / 'midstream.db'}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        return cls(**json.loads(text))


def _parse(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, not {text!r}.") from None
