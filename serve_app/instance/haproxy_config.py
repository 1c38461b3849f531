"""What becomes of the configuration that Ray Serve writes for HAProxy.

Serve has no setting for most of what makes HAProxy safe to stand in the open, so its text is
rewritten, a rule for each line that is known:

- The page of figures and the metrics listen on the loopback alone, with few places of their own and
  short patience: half-open connections there take nothing from the gateway.
- A request's head has ten seconds. Without that, half a head holds a place for as long as a stream.
- There are more places, as many as the process may have files for, and the gateway's front leaves
  some to the figures, where health can be asked while the front is full (`/healthz`).
- The administration socket is for its owner.
- Each request tells which worker carried it, in place of what its client says of that, and a worker
  tells who it is: see `serve_app.http.proxy_worker`.
- What HAProxy answers itself is JSON with its true status: see `haproxy_errors`. Serve makes 500 of
  502, 503 and 504, and 404 in plain text while no replica is known, which is a 503.

A text that is not understood is left as it is but for the rules that only ever take rights away;
each rule that finds nothing to do says so.

Written against the template of Ray 2.60 (serve/_private/haproxy_templates.py). Standard library
alone: the launcher imports this on every start and reload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from serve_app.http.proxy_worker import ASK_PATH
from serve_app.http.proxy_worker import HEADER as WORKER_HEADER
from serve_app.instance.haproxy_errors import ANSWERS

__all__ = ["MARK", "PLACES_MAX", "Rewritten", "rewrite", "rewrite_safely"]

MARK = "# Rewritten by Midstream."
"""The first line of what was rewritten: it is not rewritten again."""

PLACES_MAX = 20_000
"""Connections at once. An idle one costs HAProxy some 20 KB."""

_REQUEST_TIMEOUT_S = 10
_SIDE_PLACES = 64
"""Connections at once on the figures' port, and on the metrics' port."""

_SIDE_TIMEOUT_S = 10
_RESERVED_PLACES = 4 * _SIDE_PLACES

_SECTION = re.compile(r"^(global|defaults|frontend|backend|listen)\b\s*(\S*)")
_BIND_ANYWHERE = re.compile(r"^(\s*bind\s+)(?:\*|0\.0\.0\.0|::|\[::\])?:(\d+)(.*)$")
_ADMIN_SOCKET = re.compile(r"^(\s*stats socket\s+\S+)(.*)$")
_MODE = re.compile(r"\s+mode\s+\d+")
_MAXCONN = re.compile(r"^(\s*)maxconn\s+(\d+)\s*$")
_REQUEST_TIMEOUT = re.compile(r"^\s*timeout http-request\s")
_ERROR_FILE = re.compile(r"^\s*errorfile\s+\d+\s")
_SPLICING = re.compile(r"^\s*option splice-(request|response)\s*$")
_PLAIN_ANSWER = re.compile(
    r"^(\s*http-request return status )(\d+) content-type text/plain "
    r'(?:lf-)?string "(?:[^"\\]|\\.)*"(.*)$'
)

_GATEWAY = "frontend http_frontend"
_SIDES = ("frontend prometheus", "listen stats")
_NOWHERE = "backend default_backend"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The text, and a sentence for each rule that found nothing to do."""

    text: str
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Section:
    """`head` as in "frontend http_frontend"; the lines are those after its own."""

    head: str
    opening: str
    lines: list[str]

    def has(self, pattern: re.Pattern[str]) -> bool:
        return any(pattern.match(line) for line in self.lines)


def rewrite(text: str, *, places: int, errors: str, place: str) -> Rewritten:
    """Return the configuration to run with.

    Args:
        places: how many connections the process has files for; `PLACES_MAX` is taken at most.
        errors: the folder of the files `NNN.http` and `NNN.json`, a path without blanks.
        place: where the process ids of the workers count.
    """
    if text.startswith(MARK):
        return Rewritten(text)
    sections = _sections(text)
    done: set[str] = set()
    places = max(min(places, PLACES_MAX), 2 * _RESERVED_PLACES)
    backends = [s.head.removeprefix("backend ") for s in sections if _is_application(s)]
    for section in sections:
        _close(section, done)
        if section.head == "global":
            _give_places(section, places, done)
        elif section.head == "defaults":
            _set_defaults(section, errors, done)
        elif section.head == _GATEWAY:
            section.lines[:0] = [
                f"    maxconn {places - _RESERVED_PLACES}",
                f'    http-request return status 200 content-type text/plain lf-string "%pid {place}" '
                f"if {{ path {ASK_PATH} }}",
                f'    http-request set-header {WORKER_HEADER} "%pid {place}"',
            ]
            done.add(section.head)
        elif section.head in _SIDES:
            _confine(section, backends)
            done.add(section.head)
        if section.head in (_GATEWAY, _NOWHERE):
            is_early = section.head == _NOWHERE and not backends
            _answer_in_json(section, errors, is_early=is_early, done=done)
    text = "\n".join(line for s in sections for line in (s.opening, *s.lines) if s.opening or line)
    return Rewritten(f"{MARK}\n{text}\n", _missing(done))


def rewrite_safely(text: str) -> Rewritten:
    """Return the configuration with nothing but rights taken away, for a text that is not understood."""
    sections = _sections(text)
    done: set[str] = set()
    for section in sections:
        _close(section, done)
    lines = [line for s in sections for line in (s.opening, *s.lines) if s.opening or line]
    return Rewritten("\n".join([MARK, *lines]) + "\n")


def _sections(text: str) -> list[_Section]:
    sections = [_Section("", "", [])]
    for line in text.splitlines():
        match = _SECTION.match(line)
        if match:
            sections.append(_Section(" ".join(filter(None, match.groups())), line, []))
        else:
            sections[-1].lines.append(line)
    return sections


def _is_application(section: _Section) -> bool:
    return (
        section.head.startswith("backend ")
        and section.head != _NOWHERE
        and any(line.strip().startswith("server ") for line in section.lines)
        and not any("proto h2" in line for line in section.lines)
    )


def _close(section: _Section, done: set[str]) -> None:
    """Take the rights of others on the socket, and the figures' addresses but the loopback."""
    for index, line in enumerate(section.lines):
        if section.head == "global" and (socket := _ADMIN_SOCKET.match(line)):
            section.lines[index] = f"{socket[1]} mode 600{_MODE.sub('', socket[2])}"
            done.add("the socket's mode")
        elif section.head in _SIDES and (bind := _BIND_ANYWHERE.match(line)):
            section.lines[index] = f"{bind[1]}127.0.0.1:{bind[2]}{bind[3]}"
            done.add(f"the address of {section.head}")


def _give_places(section: _Section, places: int, done: set[str]) -> None:
    for index, line in enumerate(section.lines):
        if match := _MAXCONN.match(line):
            section.lines[index] = f"{match[1]}maxconn {places}"
            done.add("maxconn")


def _set_defaults(section: _Section, errors: str, done: set[str]) -> None:
    # Splicing is off (`serve_app.instance.haproxy`); asked for, it takes a fifth of the files for its pipes.
    unwanted = (_REQUEST_TIMEOUT, _ERROR_FILE, _SPLICING)
    lines = [line for line in section.lines if not any(p.match(line) for p in unwanted)]
    own = [f"    timeout http-request {_REQUEST_TIMEOUT_S}s"]
    own += [f"    errorfile {status} {errors}/{status}.http" for status in ANSWERS]
    section.lines = [*lines, *own]
    done.add("defaults")


def _confine(section: _Section, backends: list[str]) -> None:
    own = [f"    maxconn {_SIDE_PLACES}", f"    timeout client {_SIDE_TIMEOUT_S}s"]
    if section.head == "listen stats":
        own.append("    monitor-uri /healthz")
        nobody = " ".join(f"{{ nbsrv({name}) lt 1 }}" for name in backends)
        own.append(f"    monitor fail if {nobody or 'TRUE'}")
    section.lines += own


def _answer_in_json(section: _Section, errors: str, *, is_early: bool, done: set[str]) -> None:
    """Put the file of the status in place of plain text. While no replica is known, 404 is a 503."""
    for index, line in enumerate(section.lines):
        match = _PLAIN_ANSWER.match(line)
        if match is None or int(match[2]) not in ANSWERS:
            continue
        status = 503 if is_early and match[2] == "404" else int(match[2])
        retry = " hdr Retry-After 1" if ANSWERS[status].retry else ""
        section.lines[index] = (
            f"{match[1]}{status} content-type application/json "
            f"file {errors}/{status}.json{retry}{match[3]}"
        )
        if section.head == _NOWHERE:
            done.add(section.head)


def _missing(done: set[str]) -> tuple[str, ...]:
    wanted = ["the socket's mode", "maxconn", "defaults", _GATEWAY, _NOWHERE, *_SIDES]
    wanted += [f"the address of {head}" for head in _SIDES]
    return tuple(
        f"HAProxy's configuration is not the one that is known: {name} is left as it was."
        for name in wanted
        if name not in done
    )
