"""A private PostgreSQL server for tests: made in a temporary directory, reached by a socket there.

It uses the binaries of an installed PostgreSQL and nothing else of it: no service, no port, no
existing database. Where there are none, `postgres_server` skips and says so.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["PostgresServer", "find_binaries", "postgres_server"]

_TIMEOUT_S = 60.0


class PostgresServer:
    """A running server; each database is a new one."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._user = _unprivileged_user()
        self._numbers = itertools.count()
        if self._user:
            shutil.chown(directory, self._user)
        # Without fsync: what these tests end by force is the client.
        options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
        self._run("initdb", "-A", "trust", "-U", "midstream", "--no-sync", "-E", "UTF8")
        self._run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", options, "start")

    def create_database(self) -> str:
        """Create an empty database; return its URL."""
        name = f"test_{next(self._numbers)}"
        self._psql(f"CREATE DATABASE {name}")
        return f"postgresql://midstream@/{name}?host={self._directory}"

    def end_sessions(self) -> None:
        """Break every connection, as a restart of the server would."""
        self._psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")

    def _psql(self, statement: str) -> None:
        self._run(
            "psql", "-h", str(self._directory), "-U", "midstream", "-c", statement, "postgres"
        )

    def _run(self, program: str, *arguments: str) -> None:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        if program != "psql":
            environment["PGDATA"] = str(self._directory / "data")
        # The server's own output goes to its log: a pipe that it inherits would never end.
        said = self._directory / f"{program}.err"
        with said.open("wb") as errors:
            done = subprocess.run(
                [self._binaries / program, *arguments],
                env=environment,
                user=self._user,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=self._directory,
                timeout=_TIMEOUT_S,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {said.read_text()}")


def find_binaries() -> Path | None:
    """Return the directory that has initdb, of the newest version installed."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server for the session; skip where PostgreSQL is not installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    if os.geteuid() == 0 and _unprivileged_user() is None:
        pytest.skip("PostgreSQL does not run as root, and there is no other user")
    # Not below pytest's own directory, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="midstream-pg-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(binaries, Path(name))
        try:
            yield server
        finally:
            server.stop()


def _unprivileged_user() -> str | None:
    """Return who runs the server where this is root, which it refuses; None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None
