"""Every number that an operator may turn, in one frozen value, read from the environment once.

Each field is `MIDSTREAM_<NAME>` in upper case. The value is passed down; nothing else reads the
environment, except a provider's API key under the name that the configuration gives it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

__all__ = [
    "JOINED_DRAIN_TIMEOUT_S",
    "NAMESPACE",
    "PROTOCOL_VERSION",
    "Settings",
    "SettingsError",
]

NAMESPACE = "midstream"
"""The Ray namespace of every actor, and the Serve application's name."""

PROTOCOL_VERSION = 5
"""What actors of one deploy must agree on; raised whenever a message between actors changes."""


_NUMBER_MAX = 1e15
"""No setting means more than that; infinity and NaN are refused with it."""

_NICENESS_MAX = 19
"""The least that Linux gives a process that still runs; below 0 only root may go."""


JOINED_DRAIN_TIMEOUT_S = 300.0
"""The default of `drain_timeout_s` on a cluster that was joined."""


class SettingsError(ValueError):
    """A setting that cannot be used; the message is one sentence for the operator."""


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    # Where it listens, and where it keeps things.
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8000, "port to listen on")
    data_dir: str = _setting("", "where everything is kept; `~/.midstream` if empty")
    database: str = _setting("", "a `postgresql://` URL; SQLite in the data directory if empty")
    config: str = _setting("", "file of providers and models; the simulated models alone if empty")
    proxy: str = _setting("haproxy", "what stands in front: `haproxy` or `python`")
    replicas_per_node: int = _setting(2, "HTTP processes per node")
    haproxy_stats_port: int = _setting(8404, "HAProxy's page of figures, on the loopback")
    haproxy_metrics_port: int = _setting(9101, "HAProxy's metrics, on the loopback")
    cors_allow_origin: str = _setting("", "origins that browsers may call from; off if empty")

    # How much runs at once.
    streams_per_actor: int = _setting(1, "completions that a process carries while others are free")
    streams_per_actor_max: int = _setting(
        128, "that it carries at most, when none is free; no more than the above if lower"
    )
    overflow_after_s: float = _setting(
        0.1, "how long a start waits for a free one before it shares"
    )
    actors_per_node: int = _setting(64, "processes that carry completions: 88 MB each, idle too")
    actors_warm: int = _setting(4, "free ones that a node's pool grows towards, ahead of need")
    admission_timeout_s: float = _setting(30.0, "how long a start waits for a free one")

    hold_step_tokens: int = _setting(4_096, "output tokens that are held for at a time")

    # How long things may take.
    headers_after_s: float = _setting(1.0, "when a stream's headers go out, answer or not")
    keep_alive_s: float = _setting(15.0, "silence before a stream gets a keep-alive")
    connect_timeout_s: float = _setting(600.0, "until a provider answers; the completion fails")
    first_token_timeout_s: float = _setting(
        600.0, "until its first token, the answer's wait included; fails"
    )
    idle_timeout_s: float = _setting(300.0, "between tokens; fails")
    total_timeout_s: float = _setting(3_600.0, "of a completion; cancelled as `deadline`, charged")
    cancel_timeout_s: float = _setting(5.0, "until a cancel says that it could not be done")
    reader_grace_s: float = _setting(30.0, "that a completion waits for a reader it has lost")
    reader_stall_s: float = _setting(
        60.0, "that a stream's reader may take nothing; it is let go then, as lost"
    )
    start_timeout_s: float = _setting(180.0, "for an instance to be ready; it gives up then")
    drain_timeout_s: float = _setting(
        30.0, "for what runs to end when it stops, the rest is cancelled; 300 on a joined cluster"
    )
    body_timeout_s: float = _setting(30.0, "for a request's body to arrive")

    # How large things may get.
    body_bytes_max: int = _setting(10 * 1024**2, "a request's body")
    log_bytes_max: int = _setting(16 * 1024**2, "a completion's log; at it, cancelled as `budget`")
    frame_bytes_max: int = _setting(4 * 1024**2, "one frame of a provider's stream")
    record_ttl_s: float = _setting(86_400.0, "how long a settled completion is kept")
    responses_ttl_s: float = _setting(
        30 * 86_400.0, "how long a stored response's items can be referred to"
    )
    records_bytes_max: int = _setting(10 * 1024**3, "all records; the oldest settled go first")
    worker_niceness: int = _setting(
        0, "of every process that Ray starts, 0 to 19: Ray's own 15 starves them on a busy machine"
    )
    object_store_bytes: int = _setting(256 * 1024**2, "Ray's object store in `/dev/shm`")

    # What the surfaces do.
    strict_contracts: bool = _setting(
        False, "whether the primary pages' refusals stand where they hurt real clients"
    )
    strict_openai_cancel: bool = _setting(
        False, "whether only background responses may be cancelled, as at OpenAI's"
    )

    # The admin key's SHA-256 in hex; the key itself is kept nowhere here.
    admin_key_digest: str = ""

    def __post_init__(self) -> None:
        # Whoever raises the number alone means both.
        most = max(self.streams_per_actor, self.streams_per_actor_max)
        object.__setattr__(self, "streams_per_actor_max", most)

    @property
    def streams_per_node_max(self) -> int:
        """Completions that a node carries at once, when every process is shared as far as it may be."""
        return self.actors_per_node * self.streams_per_actor_max

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read `MIDSTREAM_<NAME>` for every field.

        Raises:
            SettingsError: a value that is not of the field's type.
        """
        values: dict[str, Any] = {}
        for setting in fields(cls):
            name = f"MIDSTREAM_{setting.name.upper()}"
            if name in environment:
                values[setting.name] = _parse(name, environment[name], type(setting.default))
        return cls(**values).checked()

    def with_changes(self, **changes: Any) -> Settings:
        """Return a copy; members that are None are left as they are."""
        return replace(
            self, **{name: value for name, value in changes.items() if value is not None}
        ).checked()

    def strict(self) -> Settings:
        """Return a copy in which no process ever carries more than it does while others are free."""
        return replace(self, streams_per_actor_max=self.streams_per_actor)

    def checked(self) -> Settings:
        """Return self.

        Raises:
            SettingsError: a number out of range.
        """
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name == "worker_niceness":
                if value not in range(_NICENESS_MAX + 1):
                    raise SettingsError(f"worker_niceness must be 0 to 19, not {value}.")
            elif type(value) in (int, float) and not 0 < value <= _NUMBER_MAX:
                raise SettingsError(f"{setting.name} must be above 0 and finite, not {value}.")
        if self.proxy not in ("haproxy", "python"):
            raise SettingsError(f"proxy must be haproxy or python, not {self.proxy!r}.")
        if self.port > 65_535:
            raise SettingsError(f"port must be at most 65535, not {self.port}.")
        return self

    @property
    def slots_max(self) -> int:
        """How many completions a carrier takes at the most; `streams_per_actor` where nobody shares."""
        return max(self.streams_per_actor, self.streams_per_actor_max)

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


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise SettingsError(f"{name} must be true or false, not {text!r}.")
        return _BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, not {text!r}.") from None
