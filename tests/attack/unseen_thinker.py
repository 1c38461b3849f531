"""A provider that thinks unseen, says one word and falls silent: what C5 is tried with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["MODEL", "THINKS_S", "TOKENS_PER_SECOND", "configured"]

MODEL = "unseen-thinker"
THINKS_S = 2.0
TOKENS_PER_SECOND = 100

_SILENT_S = 60.0
"""Longer than any attack waits for the word; whoever hangs up ends it sooner."""

_CONFIG = """
simulator: true
providers:
  thinker: {{base_url: "http://127.0.0.1:{port}/v1"}}
models:
  {model}: {{provider: thinker, upstream_model: m, hidden_reasoning_tokens_per_second: {rate}}}
"""


class _Thinker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        time.sleep(THINKS_S)
        chunk = {"choices": [{"index": 0, "delta": {"content": "Como"}, "finish_reason": None}]}
        self.wfile.write(b"data: %b\n\n" % json.dumps(chunk).encode())
        self.wfile.flush()
        self.connection.settimeout(_SILENT_S)
        try:
            self.connection.recv(1)  # Nothing more comes: this is the other side's close.
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def configured(folder: Path) -> Iterator[Path]:
    """Run such a provider; yields a configuration file that has it as a model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Thinker)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "midstream.yaml"
        port = server.server_address[1]
        path.write_text(_CONFIG.format(port=port, model=MODEL, rate=TOKENS_PER_SECOND), "utf-8")
        yield path
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
