"""Calls that the cases are made of: create, stream, read, cancel, each on a connection of its own."""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any

import httpx

from tests.support.dialect_clients import DialectClient, Frame, frames_of
from tests.support.instance import DEMO_KEY, Instance, wait_until

__all__ = [
    "Streaming",
    "ask",
    "cancel",
    "create",
    "new_name",
    "read",
    "settled",
    "started",
    "state",
]


def new_name() -> str:
    return f"case-{secrets.token_hex(6)}"


def ask(
    instance: Instance,
    call: tuple[str, str],
    *,
    key: str = DEMO_KEY,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> httpx.Response:
    method, path = call
    with instance.client(key) as http:
        return http.request(method, path, headers=headers, **options)


def create(
    instance: Instance, client: DialectClient, name: str, body: dict[str, Any], **headers: str
) -> httpx.Response:
    return ask(instance, ("POST", client.path), json=body, headers=client.named(name, **headers))


def read(instance: Instance, client: DialectClient, name: str) -> dict[str, Any]:
    answer = ask(instance, client.read(name))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def cancel(instance: Instance, client: DialectClient, name: str, **options: Any) -> httpx.Response:
    return ask(instance, client.cancel(name), **options)


def state(instance: Instance, client: DialectClient, name: str) -> str:
    return client.state(read(instance, client, name))


def settled(instance: Instance, client: DialectClient, name: str) -> str:
    """Wait until the completion has ended; return how."""
    return str(
        wait_until(
            lambda: (now := state(instance, client, name)) != "running" and now, "it has ended"
        )
    )


class Streaming:
    """A stream that is read in a thread; a context manager that hangs up where it was not read out."""

    def __init__(
        self, instance: Instance, client: DialectClient, name: str, body: dict[str, Any]
    ) -> None:
        self._instance, self._client, self._name = instance, client, name
        self._body = {**body, "stream": True}
        self._received = b""
        self._leaves = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.status = 0
        self.error: Exception | None = None

    def __enter__(self) -> Streaming:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    @property
    def frames(self) -> list[Frame]:
        return frames_of(self._received)

    @property
    def text(self) -> str:
        return self._client.text_of(self.frames)

    @property
    def last(self) -> dict[str, Any]:
        """The last frame that is an object."""
        return dict(json.loads([data for _, _, data in self.frames if data.startswith("{")][-1]))

    def wait_for_text(self) -> Streaming:
        wait_until(lambda: self.text or self.error, "text comes")
        assert self.error is None, self.error
        return self

    def join(self) -> Streaming:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream did not end"
        assert self.error is None, self.error
        return self

    def hang_up(self) -> None:
        self._leaves.set()
        self._thread.join(60)

    def _read(self) -> None:
        headers = self._client.named(self._name)
        try:
            with (
                self._instance.client() as http,
                http.stream("POST", self._client.path, json=self._body, headers=headers) as answer,
            ):
                self.status = answer.status_code
                for piece in answer.iter_raw():
                    self._received += piece
                    if self._leaves.is_set():
                        return
        except httpx.HTTPError as error:
            self.error = error


def started(instance: Instance, client: DialectClient, model: str, tokens: int) -> Streaming:
    """Open a stream of a completion that has a name; it is `_name`."""
    return Streaming(instance, client, new_name(), client.body(model, tokens))
