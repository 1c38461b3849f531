"""The data directory of an instance: its lock, its keys, and the note that tells others it runs.

    lock            flock'ed by the running instance for as long as it lives
    instance.json   who that is and where it listens; read by `env` and `down`
    keys.json       the demo key and the admin key, mode 0600
    cluster.json    the name of the cluster that is started from here, and which store it has had
    ray-token       what a process needs to join the instance's Ray, mode 0600
    midstream.log   everything that Ray and the instance said; `ray/` has the rest
    midstream.db    the store, unless a database is named

Ray and HAProxy make sockets whose paths may have 107 and 97 bytes. Where the directory's own path
is too long for that, they live in a short one of the system's temporary folder, which belongs to
this user alone and is found again by the digest of the data directory's path.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from serve_app.instance.processes import ProcessId, end_processes, find_marked

__all__ = [
    "HAPROXY_FOLDER",
    "LOOPBACKS",
    "ClusterNote",
    "DataDirectory",
    "InstanceError",
    "InstanceNote",
    "Keys",
]

HAPROXY_FOLDER = "ha"
"""In the runtime's directory: what HAProxy has, which outlives one `up` where a cluster was joined."""

LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches itself, by what it listens on."""

_RUNTIME_PATH_BYTES_MAX = 26
"""97, HAProxy's limit, less `/ha/`, a node's id of 56 and `/admin.sock`. Ray's limit is the wider one."""

_KEY_LENGTH_MIN = 8

_LEFTOVERS_GRACE_S = 3.0
_LEFTOVERS_TIMEOUT_S = 15.0

T = TypeVar("T")


class InstanceError(Exception):
    """The instance cannot run, or none runs; the message is one sentence for the operator."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Keys:
    demo: str
    admin: str

    @staticmethod
    def digest(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ClusterNote:
    """`name` tells the cluster that is started from here from others; `store` is what it has worked with."""

    name: str
    store: str | None = None

    def knows_store(self, database: str) -> bool:
        return self.store == _without_user(database)


@dataclass(frozen=True, slots=True)
class InstanceNote:
    """What a running instance tells of itself.

    `mark` is in the environment of what it started, `noted` are the ids and starts of the same;
    `address` is of the cluster that it joined, if it did.
    """

    pid: int
    started_at_s: float
    host: str
    port: int
    mark: str
    drain_timeout_s: float
    address: str = ""
    noted: tuple[tuple[int, float], ...] = ()

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started_at_s)

    def leftovers(self) -> list[ProcessId]:
        """Return what still lives of what it started."""
        return find_marked(self.mark, [ProcessId(*entry) for entry in self.noted])

    def end_leftovers(self, *, grace_s: float = _LEFTOVERS_GRACE_S) -> bool:
        """End what still lives of what it started; return whether nothing is left."""
        return end_processes(self.leftovers, grace_s=grace_s, timeout_s=_LEFTOVERS_TIMEOUT_S)

    @property
    def url(self) -> str:
        """Where a client on this machine finds it."""
        host = LOOPBACKS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class DataDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock = self._new_lock()

    @property
    def log_path(self) -> Path:
        return self.path / "midstream.log"

    def create(self) -> None:
        """Make the directory where there is none, for this user alone.

        Raises: InstanceError: it cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InstanceError(f"{self.path} cannot be made: {error.strerror}.") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InstanceError(f"{self.path} cannot be written.")

    def acquire(self) -> None:
        """Take the lock, until `release` or the end of this process.

        Raises: InstanceError: another instance has it.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            note = self.read_note()
            holder = f" by process {note.pid} ({note.url})" if note else ""
            raise InstanceError(
                f"The data directory {self.path} is in use{holder}: "
                f"stop that instance with `midstream down --data-dir {self.path}` first."
            ) from None

    def release(self) -> None:
        self._lock.release()

    def is_locked(self) -> bool:
        """Whether an instance holds the lock, this process included."""
        if not self.path.is_dir():
            return False
        try:
            with self._new_lock().acquire(blocking=False):
                return False
        except Timeout:
            return True

    def _new_lock(self) -> FileLock:
        # The kernel gives it back however the process ends.
        return FileLock(self.path / "lock", mode=0o600, is_singleton=False)

    def keys(self, environment: Mapping[str, str]) -> Keys:
        """Return the keys: those that the environment presets, else those kept, else new ones.

        They are kept as they are now, so that `midstream env` can tell them.

        Raises: InstanceError: a preset key is too short, or has a blank in it.
        """
        kept = self.kept_keys()
        keys = Keys(
            demo=_preset(environment, "MIDSTREAM_DEMO_KEY")
            or (kept.demo if kept else f"al_live_{secrets.token_hex(32)}"),
            admin=_preset(environment, "MIDSTREAM_ADMIN_KEY")
            or (kept.admin if kept else f"al_admin_{secrets.token_hex(32)}"),
        )
        if keys != kept:
            self._write("keys.json", json.dumps(asdict(keys)))
        return keys

    def kept_keys(self) -> Keys | None:
        return self._read("keys.json", Keys)

    def cluster(self) -> ClusterNote:
        """Return what is known of the cluster that is started from here; made before any keys are."""
        kept = self._read("cluster.json", ClusterNote)
        if kept is None:
            # A file beside keys is of an earlier release, which wrote no such note.
            has_store = self.kept_keys() is not None and (self.path / "midstream.db").exists()
            kept = ClusterNote(secrets.token_hex(8), "" if has_store else None)
            self._write("cluster.json", json.dumps(asdict(kept)))
        return kept

    def note_store(self, database: str) -> None:
        """Keep that the instance has worked with the store of this setting."""
        note = replace(self.cluster(), store=_without_user(database))
        self._write("cluster.json", json.dumps(asdict(note)))

    def ray_token_path(self) -> Path:
        """Return the file of the token that guards the instance's Ray; made once."""
        path = self.path / "ray-token"
        if not path.exists():
            self._write("ray-token", secrets.token_hex(32))
        return path

    def write_note(self, note: InstanceNote) -> None:
        self._write("instance.json", json.dumps(asdict(note)))

    def read_note(self) -> InstanceNote | None:
        """Return what the last instance told of itself; it may be gone: see `InstanceNote.process`."""
        return self._read("instance.json", InstanceNote)

    def remove_note(self) -> None:
        (self.path / "instance.json").unlink(missing_ok=True)

    def runtime_path(self, *, keep: str = "") -> Path:
        """Return a directory that is short enough for sockets, empty of what earlier runs left.

        Args:
            keep: what is left in it, which others use.

        Raises: InstanceError: the short one is somebody else's.
        """
        path = _private_directory(_short_path(self.path))
        for leftover in path.iterdir():
            if leftover.name != keep:
                shutil.rmtree(leftover, ignore_errors=True)
        return path

    def haproxy_path(self) -> Path:
        """Return where HAProxy keeps its configuration and sockets on a node of a cluster.

        Raises: InstanceError: it is somebody else's.
        """
        return _private_directory(_private_directory(_short_path(self.path)) / HAPROXY_FOLDER)

    def clear_runtime(self, *, keep: str = "") -> None:
        """Remove the short directory outside of this one, with Ray's logs; all that used it has ended.

        Args:
            keep: as in `runtime_path`.
        """
        path = _short_path(self.path)
        if path.is_relative_to(self.path) or path.is_symlink() or (keep and (path / keep).exists()):
            return
        shutil.rmtree(path, ignore_errors=True)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return kind(**json.loads((self.path / name).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            # No such file, or one of another version: as good as none.
            return None

    def _write(self, name: str, text: str) -> None:
        """Replace a file at once: a reader sees the old one or the new one, and nobody else either."""
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(self.path / name)


def _private_directory(path: Path) -> Path:
    """Make a directory for this user alone. Raises: InstanceError: it is somebody else's."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise InstanceError(f"{path} belongs to another user.")
    path.chmod(stat.S_IRWXU)
    return path


def _short_path(path: Path) -> Path:
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"midstream-{digest}"
    candidates = (path / "run", Path(tempfile.gettempdir()) / name, Path("/tmp") / name)
    return next(path for path in candidates if len(str(path)) <= _RUNTIME_PATH_BYTES_MAX)


def _without_user(database: str) -> str:
    """Return a database's URL without the password in it; "" is the file in the data directory."""
    return database.rpartition("@")[2]


def _preset(environment: Mapping[str, str], name: str) -> str:
    key = environment.get(name, "")
    if key and (len(key) < _KEY_LENGTH_MIN or not key.isascii() or not key.isprintable()):
        raise InstanceError(f"{name} must have at least {_KEY_LENGTH_MIN} printable characters.")
    if any(character in key for character in " '\"\\$`"):
        raise InstanceError(f"{name} must have no blanks, quotes, backslashes, `$` or backticks.")
    return key
