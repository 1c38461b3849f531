"""Background answers over HTTP: their creation, and the routes to read, cancel and delete them.

    GET    {path}/{id}                               the answer as it stands
    GET    {path}/{id}?stream=true&starting_after=N  its frames after the Nth, then live
    POST   {path}/{id}/cancel                        the answer as it stands after it
    DELETE {path}/{id}

A wire format that has such answers is a `BackgroundWire`, and supplies the bodies. Its frames are
numbered from 0; to resume after N is to render them all again and to leave N + 1 of them out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from actors.core.events import Usage
from actors.simulator.background import BackgroundAnswer, BackgroundAnswers, Progress
from actors.simulator.connection import SimulatedConnection
from actors.simulator.frames import FAILURE, Frames
from actors.simulator.log import RequestEntry
from actors.simulator.models import SimulatedModel
from actors.simulator.request import Ask, AskRefused, Fault
from actors.simulator.stream import PROPER_ENDS, SILENCE_MAX_S, STREAM_HEADERS
from actors.simulator.wires.base import FrameWriter, Heading, Wire

__all__ = ["BackgroundWire", "BackgroundWriter", "answer_in_background", "background_routes"]


class BackgroundWriter(FrameWriter, Protocol):
    """Writes the stream of an answer that may be cancelled by a request of its own."""

    def cancelled(self, usage: Usage | None) -> bytes:
        """Return the end of a cancelled answer."""
        ...


class BackgroundWire(Wire, Protocol):
    """A wire format whose answers may go on without their connection.

    `id_prefix` comes before an answer's id wherever the id is shown.
    """

    id_prefix: str

    def writer(self, heading: Heading) -> BackgroundWriter: ...

    def answer_body(self, answer: BackgroundAnswer) -> Mapping[str, Any]:
        """Return the answer as it stands, running or ended."""
        ...

    def deleted_body(self, answer_id: str) -> Mapping[str, Any]:
        """Return the confirmation of a deletion; the id has its prefix."""
        ...


async def answer_in_background(
    connection: SimulatedConnection,
    wire: BackgroundWire,
    answers: BackgroundAnswers,
    model: SimulatedModel,
    ask: Ask,
) -> None:
    """Begin an answer; the connection shows its beginning, or all of it as a stream, and may go."""
    answer = answers.start(connection.detach(), model, ask)
    if ask.is_stream:
        await _send_stream(connection, wire, answer, starting_after=-1)
    else:
        await connection.answer_json(200, wire.answer_body(answer))


def background_routes(wire: BackgroundWire, answers: BackgroundAnswers) -> list[BaseRoute]:
    """Return the routes of the answers that are kept."""
    routes = _Routes(wire, answers)
    path = wire.path + "/{answer_id}"
    return [
        Route(path, routes.read, methods=["GET"]),
        Route(path, routes.delete, methods=["DELETE"]),
        Route(path + "/cancel", routes.cancel, methods=["POST"]),
    ]


class _Routes:
    def __init__(self, wire: BackgroundWire, answers: BackgroundAnswers) -> None:
        self._wire = wire
        self._answers = answers

    async def read(self, request: Request) -> Response:
        answer = self._find(request)
        if answer is None:
            return self._unknown(request)
        if request.query_params.get("stream") != "true":
            return JSONResponse(self._wire.answer_body(answer))
        try:
            starting_after = _starting_after(request)
        except AskRefused as error:
            return JSONResponse(self._wire.error_body(error.fault), error.fault.status)
        return _BackgroundStream(self._wire, answer, starting_after)

    async def cancel(self, request: Request) -> Response:
        answer = self._find(request)
        if answer is None:
            return self._unknown(request)
        answer.cancel()
        return JSONResponse(self._wire.answer_body(answer))

    async def delete(self, request: Request) -> Response:
        if not self._answers.delete(self._answer_id(request)):
            return self._unknown(request)
        return JSONResponse(self._wire.deleted_body(request.path_params["answer_id"]))

    def _find(self, request: Request) -> BackgroundAnswer | None:
        return self._answers.find(self._answer_id(request))

    def _answer_id(self, request: Request) -> str:
        shown: str = request.path_params["answer_id"]
        prefix = self._wire.id_prefix
        return shown.removeprefix(prefix) if shown.startswith(prefix) else ""

    def _unknown(self, request: Request) -> Response:
        shown = request.path_params["answer_id"][:128]
        fault = Fault(f"Response with id '{shown}' not found.", 404)
        return JSONResponse(self._wire.error_body(fault), 404)


def _starting_after(request: Request) -> int:
    text = request.query_params.get("starting_after", "-1")
    if text != "-1" and not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise AskRefused("Invalid 'starting_after': expected an integer.", param="starting_after")
    return int(text)


class _BackgroundStream(Response):
    """An answer's frames, on the request's own connection."""

    def __init__(self, wire: BackgroundWire, answer: BackgroundAnswer, starting_after: int) -> None:
        super().__init__()
        self._wire = wire
        self._answer = answer
        self._starting_after = starting_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In no log: nothing is asked of the model.
        connection = SimulatedConnection(RequestEntry("", time.time(), None), receive, send)
        try:
            await _send_stream(
                connection, self._wire, self._answer, starting_after=self._starting_after
            )
        finally:
            connection.close()


async def _send_stream(
    connection: SimulatedConnection,
    wire: BackgroundWire,
    answer: BackgroundAnswer,
    *,
    starting_after: int,
) -> None:
    """Send the frames as they are produced; returns at their end or when the client has left."""
    frames = _FramesAfter(starting_after, wire, answer)
    await connection.start(200, STREAM_HEADERS)
    answer.add_reader(connection)
    try:
        while connection.entry.is_open:
            body = frames.take()
            if body:
                await connection.write(body)
            elif frames.are_over:
                break
            elif frames.are_behind:
                await asyncio.sleep(0)
            else:
                await connection.wait(SILENCE_MAX_S)
    finally:
        answer.remove_reader(connection)
    if answer.progress is Progress.CANCELLED or answer.model.ending in PROPER_ENDS:
        await connection.write(b"", is_last=True)


class _FramesAfter:
    """An answer's frames that a reader has not had yet.

    Args: starting_after: the number of the last frame that it had, -1 for none.
    """

    def __init__(self, starting_after: int, wire: BackgroundWire, answer: BackgroundAnswer) -> None:
        self._answer = answer
        self._writer = wire.writer(answer.heading)
        self._frames = Frames(answer.entry, self._writer, answer.model, answer.heading.ask)
        self._left_out = starting_after + 1
        self._start = self._frames.start()
        self._end: bytes | None = None

    @property
    def are_behind(self) -> bool:
        """Whether more was produced than was taken."""
        return self._frames.tokens_taken < self._answer.entry.tokens_sent

    @property
    def are_over(self) -> bool:
        return self._end is not None

    def take(self) -> bytes:
        """Return what was produced since the last call, a bounded number of frames."""
        if self.are_over:
            return b""
        body, self._start = self._start, b""
        body += self._frames.take(self._answer.entry.tokens_sent)
        if not self.are_behind and not self._answer.is_running:
            self._end = self._end_frames()
            body += self._end
        return self._new(body)

    def _end_frames(self) -> bytes:
        """Return the end of an answer that did not end by itself, nothing for one that did."""
        if self._answer.progress is Progress.CANCELLED:
            return self._writer.cancelled(self._answer.usage())
        return b"" if self._frames.are_over else self._writer.failure(FAILURE)

    def _new(self, body: bytes) -> bytes:
        while self._left_out and body:
            body = body.partition(b"\n\n")[2]
            self._left_out -= 1
        return body
