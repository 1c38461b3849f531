"""Generated calls against what `/openapi.json` promises: right ones, wrong ones, and no server error.

`python -m tests.support.schema_fuzz --calls 5000` makes as many calls of the application in memory, on a
real socket, with the simulator behind it. `--url`, `--key` and `--admin-key` ask a deployment instead, which
gets teams, keys and completions that nobody needs: not one that matters.

Every answer is held to the description of its operation: a status that is listed, its content type, its
schema. A body that the schema does not allow has to be refused. Nothing may be a server error, but a 501
that is listed. Half of the calls that name a completion name one that exists.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.http.rig import ADMIN_KEY, rig

CALL_TIMEOUT_S = 30.0
MODEL = "sim-instant"
TOKENS_MAX = 8

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
"""Of every answer."""

LIMITS = {
    "max_tokens": TOKENS_MAX,
    "max_completion_tokens": TOKENS_MAX,
    "max_output_tokens": 16,
    "max_output_synapses": 1,
    "maxOutputSynapses": 1,
}
"""Members that say how long an answer may be: a long one tells nothing more than a short one."""

SAID = [{"role": "user", "content": "Name a lake."}]
CREATED: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/chat/completions": ("id", {"messages": SAID, "max_tokens": 4}),
    "/v1/messages": ("id", {"messages": SAID, "max_tokens": 4}),
    "/v1/responses": ("id", {"input": "Name a lake.", "max_output_tokens": 16}),
    "/v1/model/response": ("id", {"organization_id": "org", "inputs": SAID}),
}
"""What is created before the calls, by route: the member of the answer that names it, and the body."""


@dataclass(frozen=True)
class Target:
    """A deployment, and the keys to it; `organization` is the team's."""

    url: str
    key: str
    admin_key: str
    organization: str = "org"


@dataclass
class Outcome:
    """`failures` has each distinct one once, with the call that showed it."""

    calls: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)


def fuzz(target: Target, *, calls: int, chosen: int = 0) -> Outcome:
    """Make about so many calls, the same number for each operation; `chosen` is the seed."""
    document = httpx.get(f"{target.url}/openapi.json", timeout=CALL_TIMEOUT_S).json()
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation[
                "security"
            ]  # Every call has a good key: it is the rest that is looked at.
    schema = schemathesis.openapi.from_dict(document)
    described = [found.ok() for found in schema.get_all_operations()]
    outcome = Outcome()
    with requests.Session() as session:
        caller = _Caller(target, session, outcome)
        for one in described:
            _fuzz_operation(one, caller, -(-calls // len(described)), chosen)
    return outcome


class _Caller:
    """Makes calls, and holds their answers to the description."""

    def __init__(self, target: Target, session: requests.Session, outcome: Outcome) -> None:
        self._target = target
        self._session = session
        self._outcome = outcome
        self._ids = {path: _created(target, path) for path in CREATED}
        self._turn = itertools.count()

    def call(self, case: Case, mode: GenerationMode) -> None:
        self._outcome.calls += 1
        if next(self._turn) % 2:
            self._name_what_there_is(case)
            if mode is GenerationMode.POSITIVE:  # What is wrong with a body has to stay.
                self._make_plausible(case.body)
        response = case.call(
            base_url=self._target.url,
            session=self._session,
            headers={"Authorization": f"Bearer {self._key(case)}"},
            timeout=CALL_TIMEOUT_S,
        )
        self._outcome.statuses[response.status_code] += 1
        try:
            case.validate_response(response, checks=_checks(case, response.status_code))
        except FailureGroup as group:
            for failure in group.exceptions:
                self._record(case, response.status_code, failure)

    def _key(self, case: Case) -> str:
        is_admin = case.path.startswith("/admin")
        return self._target.admin_key if is_admin else self._target.key

    def _make_plausible(self, body: Any) -> None:
        """Let a body ask a model and an organization that there are for a short answer."""
        if not isinstance(body, dict):
            return
        if isinstance(body.get("model"), str):
            body["model"] = MODEL
        if isinstance(body.get("organization_id"), str):
            body["organization_id"] = self._target.organization
        for name, tokens in LIMITS.items():
            if type(body.get(name)) is int and body[name] > tokens:
                body[name] = tokens

    def _name_what_there_is(self, case: Case) -> None:
        """Let the call name an organization and a completion that there are."""
        if case.query and isinstance(case.query.get("organizationId"), str):
            case.query["organizationId"] = self._target.organization
        ids = next((ids for path, ids in self._ids.items() if case.path.startswith(path)), [])
        if ids and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = ids[self._outcome.calls % len(ids)]

    def _record(self, case: Case, status: int, failure: Exception) -> None:
        title = getattr(failure, "title", type(failure).__name__)
        name = f"{case.operation.label}: {title} ({status})"
        shown = case.as_curl_command({"Authorization": "Bearer ..."})
        self._outcome.failures.setdefault(name, f"{failure}\n{shown}"[:4000])


def _checks(case: Case, status: int) -> list[Any]:
    checks = list(CHECKS)
    if status != 501:  # That it is listed is checked with every status.
        checks.append(not_a_server_error)
    if case.method == "POST":  # A query may have members that nobody knows.
        checks.append(negative_data_rejection)
    return checks


def _created(target: Target, path: str) -> list[str]:
    """Return the ids of a few new completions, none where the deployment has no such route."""
    name, body = CREATED[path]
    made = []
    for _ in range(3):
        answer = httpx.post(
            f"{target.url}{path}",
            json={"model": MODEL, **body},
            headers={"Authorization": f"Bearer {target.key}"},
            timeout=CALL_TIMEOUT_S,
        )
        if answer.status_code == 200:
            made.append(answer.json()[name])
    return made


def _fuzz_operation(
    operation: APIOperation[Any, Any, Any, Any], caller: _Caller, calls: int, chosen: int
) -> None:
    for mode, share in (
        (GenerationMode.POSITIVE, calls - calls // 2),
        (GenerationMode.NEGATIVE, calls // 2),
    ):
        if share:
            _fuzz_mode(operation, mode, caller, share, chosen)


def _fuzz_mode(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    caller: _Caller,
    calls: int,
    chosen: int,
) -> None:
    @seed(chosen)
    @settings(
        max_examples=calls,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(mode))
    def one(case: Case) -> None:
        caller.call(case, mode)

    try:
        one()
    except Unsatisfiable:
        pass  # Nothing can be wrong with an operation that takes nothing.


@contextmanager
def application() -> Iterator[Target]:
    """Yield the whole application in memory, on a socket, in a thread; it is gone afterwards."""
    ready: list[Target] = []
    failed: list[BaseException] = []
    started, over = threading.Event(), threading.Event()

    async def whole(folder: Path) -> None:
        async with rig(folder, simulator=True) as made, made.serve() as url:
            ready.append(Target(url, made.key, ADMIN_KEY))
            started.set()
            await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(whole(Path(folder)))
        except BaseException as error:
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="application")
    thread.start()
    try:
        started.wait(60)
        if failed:
            raise failed[0]
        yield ready[0]
    finally:
        over.set()
        thread.join(60)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a deployment; none is the application in memory")
    parser.add_argument("--key", default=os.environ.get("MIDSTREAM_API_KEY", ""))
    parser.add_argument("--admin-key", default=os.environ.get("MIDSTREAM_ADMIN_KEY", ""))
    parser.add_argument("--organization", default="org_demo")
    args = parser.parse_args()
    if args.url:
        target = Target(args.url.rstrip("/"), args.key, args.admin_key, args.organization)
        outcome = fuzz(target, calls=args.calls, chosen=args.seed)
    else:
        with application() as target:
            outcome = fuzz(target, calls=args.calls, chosen=args.seed)
    for name, shown in outcome.failures.items():
        print(f"FAIL {name}\n{shown}\n")
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(outcome.statuses.items()))
    print(f"{outcome.calls} calls, {len(outcome.failures)} failures; {statuses}")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
