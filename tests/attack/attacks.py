"""What somebody would try against a running instance, from outside of it; each says what came back.

An attack is a function of an instance that raises AssertionError where it succeeded. It knows addresses
and keys of teams, what a local user sees of processes, and nothing of the inside.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx

from serve_app.instance.data_directory import DataDirectory
from tests.attack import unseen_thinker
from tests.support.chat_streams import ChatStream, body, stream
from tests.support.instance import ADMIN_KEY, DEMO_KEY, Instance, wait_until

__all__ = ["ATTACKS", "Attack"]

HALF_OPEN = 1_500
HEAD_LIMIT_S = 20.0
GAP_LIMIT_S = 1.0
"""For a stream of fifty tokens a second beside the worst body; a replica that is held shows seconds."""

_HELLO_BYTES = 40
_VERDICT_BYTES = 65
"""What an actor says to whoever connects, and to who has not proven the token; see `actors.rpc.tcp`."""

ESCAPES = "\x1b\x07\x9b\u202e"


class Attack(NamedTuple):
    """`line` is its number in section C, or B7.

    `is_slow` takes tens of seconds; `is_of_its_own` needs the model of `unseen_thinker`.
    """

    line: str
    tried: str
    run: Callable[[Instance], str]
    is_slow: bool = False
    is_of_its_own: bool = False


def _processes() -> Iterator[tuple[int, bytes]]:
    """Yield the processes of this machine, with their environments, as this user may read them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "environ").read_bytes()
            except OSError:
                continue


def _marked(instance: Instance) -> list[tuple[int, bytes]]:
    note = DataDirectory(instance.data_dir).read_note()
    assert note is not None, "it runs"
    noted = {pid for pid, _ in note.noted}
    mark = f"MIDSTREAM_INSTANCE={note.mark}".encode()
    return [(p, e) for p, e in _processes() if p in noted or mark in e.split(b"\0")]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _exchange(address: tuple[str, int], request: bytes, timeout_s: float = 10.0) -> bytes:
    with socket.create_connection(address, timeout=timeout_s) as connection:
        connection.sendall(request)
        try:
            return b"".join(iter(lambda: connection.recv(65_536), b""))
        except ConnectionError:
            return b""


def admin_socket(instance: Instance) -> str:
    found = []
    for pid in [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()]:
        words = _command(pid).split(b"\0")
        if b"-f" in words and words[0].endswith(b"haproxy"):
            configuration = Path(words[words.index(b"-f") + 1].decode())
            text = configuration.read_text("utf-8") if configuration.exists() else ""
            if f":{instance.port}\n" in text:
                found.append(configuration.parent)
    assert found, "its HAProxy runs"
    for folder in found:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
        assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600
    return "folder 0700, socket 0600"


def _side_ports(instance: Instance) -> list[int]:
    names = ("MIDSTREAM_HAPROXY_STATS_PORT", "MIDSTREAM_HAPROXY_METRICS_PORT")
    return [int(instance.environment[name]) for name in names]


def half_open_figures(instance: Instance) -> str:
    own = [a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for port in _side_ports(instance):
        for address in own:
            if not str(address).startswith("127."):
                with socket.socket() as probe:
                    probe.settimeout(2)
                    assert probe.connect_ex((address, port)) != 0, f"{address}:{port} listens"
    with ExitStack() as opened:
        for port in _side_ports(instance):
            for _ in range(HALF_OPEN // 2):
                connection = opened.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", port))
        answer = httpx.get(f"{instance.url}/healthz", timeout=10, trust_env=False)
    assert answer.status_code == 200
    return f"loopback alone; healthy beside {HALF_OPEN} half-open connections"


def half_a_head(instance: Instance) -> str:
    began_s = time.monotonic()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-A: "
    said = _exchange(("127.0.0.1", instance.port), head, HEAD_LIMIT_S)
    assert b"408" in said.split(b"\r\n")[0] or not said, said[:80]
    return f"closed after {time.monotonic() - began_s:.0f} s"


def unseen_thinking(instance: Instance) -> str:
    reader = stream(instance, unseen_thinker.MODEL).wait_for_tokens(1)
    reader.close()
    with instance.client() as client:
        path = f"/v1/chat/completions/{reader.completion_id}"
        wait_until(lambda: client.get(path).json()["status"] == "cancelled", "it is cancelled")
        answer = client.get(path).json()
    charged = answer["usage"]["credits_charged"]
    thought = unseen_thinker.THINKS_S * unseen_thinker.TOKENS_PER_SECOND
    least = min(0.9 * thought, body()["max_tokens"]) * 450 / 1e6
    assert charged >= least, (charged, least)
    assert answer["midstream"]["charge_basis"]["output"] == "estimated", answer["midstream"]
    return f"{charged} credits after one word, at least {least:.6f}; estimated"


def lifted_limit(instance: Instance) -> str:
    members = {"n_predict": 60, "ignore_eos": True, "min_tokens": 60, "max_tokens": 5}
    with instance.client() as client:
        answer = client.post("/v1/chat/completions", json=body("sim-instant") | members)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        return "400 that names it"
    assert answer.json()["usage"]["completion_tokens"] <= 5
    seen = instance.simulated(answer.json()["id"])
    assert not {"n_predict", "ignore_eos", "min_tokens"} & set(seen["members"]), seen
    return "not sent on; 5 tokens paid and made"


def heavy_body(instance: Instance) -> str:
    heavy = json.dumps({f"k{i}": 0 for i in range(700_000)}).encode()
    half = json.dumps({f"k{i}": 0 for i in range(200_000)}).encode()
    long = json.dumps(body() | {"messages": [{"role": "user", "content": "a " * 4_500_000}]})
    stream = ChatStream(instance.url, body("sim-long", max_tokens=5_000)).open().wait_for_tokens(5)
    try:
        with instance.client() as client:
            statuses = []
            for content in (heavy, half, long.encode()):
                before, began_s = len(stream.tokens), time.monotonic()
                answer = client.post("/v1/chat/completions", content=content)
                statuses.append(answer.status_code)
                took_s = time.monotonic() - began_s
                wanted = (took_s - GAP_LIMIT_S) * 50 * 0.5
                assert len(stream.tokens) - before >= wanted, f"the stream beside stood: {took_s}"
    finally:
        with instance.client() as client:
            client.post(f"/v1/chat/completions/{stream.completion_id}/cancel")
        stream.join()
    assert statuses[:2] == [400, 400], statuses
    return f"{statuses}, a stream beside went on"


def free_counting(instance: Instance) -> str:
    team = f"count-{uuid.uuid4().hex[:8]}"
    made = {"team": team, "organization": "org_tests", "credits": 1}
    instance.admin("POST", "/admin/v1/teams", json=made | {"limits": {"requests_per_minute": 2}})
    key = instance.admin("POST", f"/admin/v1/teams/{team}/keys", json={})["key"]
    asked = {"model": "sim", "messages": [{"role": "user", "content": "x"}]}
    with instance.client(key) as client:
        statuses = [
            client.post("/v1/messages/count_tokens", json=asked).status_code,
            client.post(
                "/v1/responses/input_tokens", json={"model": "sim", "input": "x"}
            ).status_code,
            client.post("/v1/messages/count_tokens", json=asked).status_code,
            client.post("/v1/chat/completions", json=body("sim-instant")).status_code,
        ]
    assert statuses == [200, 200, 429, 429], statuses
    return "2 of 2, then 429 for counting and creating"


def reposted_team(instance: Instance) -> str:
    team = f"limits-{uuid.uuid4().hex[:8]}"
    made = {"team": team, "organization": "org_tests"}
    limits = {"requests_per_minute": 1}
    instance.admin("POST", "/admin/v1/teams", json=made | {"credits": 1, "limits": limits})
    instance.admin("POST", "/admin/v1/teams", json=made)
    key = instance.admin("POST", f"/admin/v1/teams/{team}/keys", json={})["key"]
    with instance.client(key) as client:
        said = [client.post("/v1/chat/completions", json=body("sim-instant")) for _ in range(2)]
    assert [answer.status_code for answer in said] == [200, 429]
    return "the limit stands"


def control_characters(instance: Instance) -> str:
    evil = "\x1b]0;owned\x07lap\u202etop\x1b[2J\x9b31m"
    team = f"evil-{uuid.uuid4().hex[:8]}"
    instance.new_team(team)
    instance.admin("POST", f"/admin/v1/teams/{team}/keys", json={"name": evil})
    for arguments in (("keys", "list", "--team", team), ("tail", evil), ("ps", "--all")):
        done = instance.run(*arguments)
        assert not set(done.stdout + done.stderr) & set(ESCAPES), arguments
    return "removed"


def keys_in_environments(instance: Instance) -> str:
    looked = 0
    for pid, environment in _marked(instance):
        looked += 1
        for key in (DEMO_KEY, ADMIN_KEY):
            assert key.encode() not in environment, f"{pid} {_command(pid)[:60]!r}"
    return f"in none of {looked} processes" if looked else "it joined: no process is its own"


def bytes_at_actors(instance: Instance) -> str:
    rows = [
        line.split()
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    asked = 0
    for row in rows:
        host_hex, port_hex = row[1].split(":")
        host = socket.inet_ntoa(bytes.fromhex(host_hex)[::-1])
        owner = _owner(row[9])
        if owner is None:
            continue
        address = "127.0.0.1" if host == "0.0.0.0" else host
        claims = [b"GET /calls HTTP/1.1\r\nAuthorization: Bearer \xe9\xff" * 4]
        if not asked:
            claims.append(b"midstrm1")  # Half of one is waited for as long as a claim may take.
        for claim in claims:
            said = _said_to(address, int(port_hex, 16), claim)
            assert len(said) in (_HELLO_BYTES, _HELLO_BYTES + _VERDICT_BYTES), said
            assert said[_HELLO_BYTES : _HELLO_BYTES + 1] != b"\0", "nobody was let in"
        asked += 1
    assert asked, "actors listen"
    return f"no word at {asked} ports"


def _said_to(host: str, port: int, claim: bytes) -> bytes:
    """Return all that an actor's port says until it hangs up."""
    said = b""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(claim)
        try:
            while data := connection.recv(4096):
                said += data
        except ConnectionResetError:
            pass  # It hung up with bytes of ours unread.
    return said


def _owner(inode: str) -> int | None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and b"ompletion" in _command(int(entry.name))[:80]:
            try:
                links = [str(fd.readlink()) for fd in (entry / "fd").iterdir()]
            except OSError:
                continue
            if f"socket:[{inode}]" in links:
                return int(entry.name)
    return None


def foreign_calls(instance: Instance) -> str:
    with instance.client() as client:
        compact = client.post("/v1/responses/compact", json={"model": "sim", "input": "x"})
        foreign = client.get("/v1/responses/resp_1?provider=openai")
    assert compact.status_code in (400, 403, 404, 501), compact.text
    assert foreign.status_code == 404
    return f"{compact.status_code} and {foreign.status_code}"


def simulators_log(instance: Instance) -> str:
    url = f"{instance.simulator_url()}/_simulator/requests?limit=10"
    for headers in ({}, {"Authorization": f"Bearer {DEMO_KEY}"}):
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 401
    answer = httpx.get(url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False)
    assert answer.status_code == 200
    return "401 but for the admin key"


def page_and_names(instance: Instance) -> str:
    headers = httpx.get(f"{instance.url}/docs/api", trust_env=False).headers
    policy = headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    with instance.client(ADMIN_KEY) as client:
        for name in (".", ".."):
            made = {"team": name, "organization": "org_tests"}
            assert client.post("/admin/v1/teams", json=made).status_code == 400, name
    return "headers there; `.` and `..` are 400"


def transport(instance: Instance) -> str:
    asked = json.dumps(body("sim-instant", max_tokens=3) | {"stream": True}).encode()
    with instance.client() as client:
        for content, coding, status in (
            (gzip.compress(asked), "gzip", 200),
            (asked, "br", 415),
            (gzip.compress(bytes(200 * 1024**2)), "gzip", 413),
        ):
            headers = {"Content-Encoding": coding}
            answer = client.post("/v1/chat/completions", content=content, headers=headers)
            assert answer.status_code == status, (coding, answer.status_code)
    head = f"Authorization: Bearer {DEMO_KEY}\r\nContent-Length: {len(asked)}\r\n\r\n".encode()
    said = _exchange(
        ("127.0.0.1", instance.port),
        b"POST /v1/chat/completions HTTP/1.0\r\n" + head + asked,
        60.0,
    )
    before, _, after = said.partition(b"\r\n\r\n")
    assert b"chunked" not in before.lower(), before
    assert not re.match(rb"[0-9A-Fa-f]+\r\n", after) and after.rstrip().endswith(b"[DONE]"), after
    return "gzip read, br 415, a bomb 413, HTTP/1.0 without chunks"


ATTACKS = (
    Attack("C2", "the proxy's administration socket", admin_socket),
    Attack("C3", "half-open connections to its figures", half_open_figures),
    Attack("C4", "half a request's head", half_a_head, is_slow=True),
    Attack("C5", "hanging up after unseen thinking", unseen_thinking, is_of_its_own=True),
    Attack("C6", "members that lift limits", lifted_limit),
    Attack("C7", "bodies of many members beside a stream", heavy_body, is_slow=True),
    Attack("C7", "counting beyond the team's limit", free_counting),
    Attack("C8", "a team posted again", reposted_team),
    Attack("C9", "control characters in names", control_characters),
    Attack("C10", "keys in environments", keys_in_environments),
    Attack("C11", "bytes for an actor's token", bytes_at_actors),
    Attack("C12", "compaction and a provider's own ids", foreign_calls),
    Attack("C13", "the simulator's log", simulators_log),
    Attack("C14", "framing the page; names of teams", page_and_names),
    Attack("B7", "codings and HTTP/1.0", transport),
)
