"""What Ray Serve starts in place of HAProxy: rewrites the configuration, then becomes HAProxy.

It is called as HAProxy is, for starts and for reloads (`-sf`, `-x`): the process id that Serve waits
for stays, and so does the path of the configuration, by which Serve knows its processes. What cannot
be rewritten is run as it was, with a warning on standard error, which Serve keeps beside the socket.

Standard library alone, and little of it: it runs before every HAProxy. `haproxy` beside it writes the
script that calls it.
"""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from serve_app.http.proxy_worker import place
from serve_app.instance.haproxy_config import PLACES_MAX, Rewritten, rewrite, rewrite_safely
from serve_app.instance.haproxy_errors import ANSWERS, answer_body, answer_file
from serve_app.instance.haproxy_stand_in import standing_in

__all__ = ["main", "prepare"]

_FILES_BESIDE = 512
"""Files that HAProxy has open beside two for each connection."""

_CHECK_TIMEOUT_S = 10.0


def main(arguments: Sequence[str]) -> None:
    """Become HAProxy. `arguments` are the binary's path and what Serve gives it."""
    binary, *given = arguments  # `given` is a list of our own.
    configuration = _configuration(given)
    if configuration is not None:
        try:
            given += _taking_over(configuration, given)
            _keep_private(configuration)
            for warning in prepare(configuration, accepts=lambda path: _accepts(binary, path)):
                print(f"midstream: {warning}", file=sys.stderr)
        except (OSError, ValueError) as error:
            print(f"midstream: HAProxy runs as Serve would have it: {error}", file=sys.stderr)
        sys.stderr.flush()
    # Without splicing: see `serve_app.instance.haproxy`.
    os.execv(binary, [binary, "-dS", *given])


def prepare(configuration: Path, *, accepts: Callable[[Path], bool]) -> list[str]:
    """Rewrite the file in place; return what is to be said about it.

    Args:
        accepts: whether HAProxy can run with a file.
    """
    text = configuration.read_text("utf-8")
    errors = configuration.parent / "errors"
    _write_errors(errors)
    whole = rewrite(text, places=_places(), errors=str(errors), place=place())
    warnings = list(whole.warnings)
    for attempt in (whole, rewrite_safely(text)):
        if attempt.text == text or _replace(configuration, attempt, accepts):
            return warnings
        warnings.append("HAProxy does not take the rewritten configuration.")
    return warnings


def _configuration(given: Sequence[str]) -> Path | None:
    """Return the path after `-f`; None for a call that runs nothing, as `-v`."""
    for name, value in itertools.pairwise(given):
        if name == "-f":
            return Path(value)
    return None


def _taking_over(configuration: Path, given: Sequence[str]) -> list[str]:
    """Return how a HAProxy that Serve begins anew takes the place of the stand-in for the one before."""
    stand_in = None if "-sf" in given else standing_in(configuration)
    if stand_in is None:
        return []
    text = configuration.read_text("utf-8")
    if stand_in.text_for(text) != text:
        _put(configuration, stand_in.text_for(text).encode())
    return ["-sf", str(stand_in.pid)]


def _keep_private(configuration: Path) -> None:
    """Shut the folder of configuration and socket to other users, where it is ours."""
    folder = configuration.parent
    if folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)
    else:
        print(f"midstream: {folder} belongs to another user.", file=sys.stderr)


def _places() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return PLACES_MAX if hard == resource.RLIM_INFINITY else (hard - _FILES_BESIDE) // 2


def _write_errors(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for status in ANSWERS:
        _put(folder / f"{status}.http", answer_file(status))
        _put(folder / f"{status}.json", answer_body(status).encode())


def _replace(configuration: Path, attempt: Rewritten, accepts: Callable[[Path], bool]) -> bool:
    """Put the text in the file's place if HAProxy takes it."""
    tried = configuration.with_suffix(".tried")
    _put(tried, attempt.text.encode())
    if not accepts(tried):
        tried.unlink()
        return False
    tried.replace(configuration)
    return True


def _accepts(binary: str, path: Path) -> bool:
    try:
        done = subprocess.run(
            [binary, "-c", "-f", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _put(path: Path, data: bytes) -> None:
    """Replace a file at once: a HAProxy that starts beside this one reads the old or the new."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(temporary).replace(path)
