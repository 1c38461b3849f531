"""After a run: read on what was left, ask the upstream what it did, and count the money.

Owns the order of these questions and how many are asked at once. What the answers mean is
`ground_truth`'s. At most `STREAMS_MAX` streams of a run are looked into, spread evenly over it: the
simulator's log forgets older requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import quote

from actors.loadtest.connections import UNREACHED, LoadConnections, Refused
from actors.loadtest.ground_truth import Finding, Findings, UpstreamRequest, end_of, judge
from actors.loadtest.metrics import Measurements, Metric, Outcome, StreamRow
from actors.loadtest.reading import Reading, WrongStream
from actors.loadtest.speech import Speech, SpokenCall
from actors.loadtest.target import LoadError, Target, TargetAccount, read_account
from actors.ports.clock import Clock

__all__ = ["ORPHAN_GRACE_S", "STREAMS_MAX", "Audit"]

ORPHAN_GRACE_S = 1.0
STREAMS_MAX = 10_000

_AT_ONCE = 16
_POLL_S = 0.02
_READ_TIMEOUT_S = 30.0
_SETTLE_TIMEOUT_S = 5.0

_Look = Callable[[StreamRow], Awaitable[None]]


class Audit:
    """One run's.

    Args:
        truth: the simulator's; None where there is none.
        admin_key: the runtime's own audit of its ledger is asked for with it.
        is_words: see `ground_truth.judge`.
    """

    def __init__(
        self,
        connections: LoadConnections,
        truth: LoadConnections | None,
        target: Target,
        speech: Speech,
        *,
        clock: Clock,
        is_words: bool,
        admin_key: str | None = None,
        orphan_grace_s: float = ORPHAN_GRACE_S,
    ) -> None:
        self._connections = connections
        self._truth = truth
        self._target = target
        self._speech = speech
        self._clock = clock
        self._is_words = is_words
        self._admin_key = admin_key
        self._orphan_grace_s = orphan_grace_s

    async def run(self, measured: Measurements, before: TargetAccount | None) -> Findings:
        """Look into the streams of a run; what it learns of them is added to their rows.

        Args: before: the account before the run; None where there is none.
        """
        findings = Findings()
        rows = [row for row in measured.rows if row.is_started]
        if self._target.is_midstream:
            await self._for_each(iter([row for row in rows if not row.is_whole]), self._read_on)
        if self._truth is None:
            findings.unavailable = "the upstream has no log that can be asked"
        else:
            chosen = rows[:: -(-len(rows) // STREAMS_MAX)] if rows else []
            await self._for_each(
                iter(chosen), lambda row: self._check(row, measured, findings, before)
            )
        if before is not None:
            await self._check_account(measured, before, findings)
        if self._target.is_midstream and self._admin_key is not None:
            findings.ledger = await self._ledger_balances(self._admin_key)
        return findings

    async def _for_each(self, rows: Iterator[StreamRow], look: _Look) -> None:
        async def work() -> None:
            for row in rows:
                await look(row)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def _read_on(self, row: StreamRow) -> None:
        """Read a stream that was left, or broke, from its record: all of it, and its end."""
        reading = Reading(self._speech.reader())
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                await self._read(row.wire_id, reading)
        except (Refused, WrongStream, *UNREACHED):
            return
        ending = reading.ending
        if ending is None:
            return
        row.is_whole, row.charged_microcredits = True, ending.charged_microcredits
        row.completion_id = ending.completion_id or row.completion_id
        row.tokens, row.characters, row.digest = reading.tokens, reading.characters, reading.digest
        row.ended_at_s = row.ended_at_s or self._clock.wall_s()

    async def _read(self, wire_id: str, reading: Reading) -> None:
        call = self._speech.attach(wire_id, -1)
        async with self._connections.stream(call) as response:
            while data := await response.content.readany():
                reading.receive(data, self._clock.now_ns())

    async def _check(
        self,
        row: StreamRow,
        measured: Measurements,
        findings: Findings,
        before: TargetAccount | None,
    ) -> None:
        requests = await self._requests(row)
        if requests is None or (not requests and row.outcome is not Outcome.CANCELLED):
            findings.unknown += 1
            return
        is_metered = before is not None and before.is_metered
        finding = judge(
            row,
            requests,
            prices=self._target.prices if is_metered else None,
            is_words=self._is_words,
            orphan_grace_s=self._orphan_grace_s,
        )
        findings.add(row, finding)
        _record_close(row, finding, measured)

    async def _requests(self, row: StreamRow) -> list[UpstreamRequest] | None:
        """Return its upstream requests when all are closed, or as they are when the grace is over."""
        assert self._truth is not None
        call = SpokenCall("GET", f"/_simulator/requests?completion_id={quote(row.completion_id)}")
        while True:
            try:
                value = await self._truth.json(call)
            except (Refused, ValueError, *UNREACHED):
                return None
            requests = [UpstreamRequest.from_json(one) for one in value["data"]]
            is_late = self._clock.wall_s() > end_of(row) + self._orphan_grace_s
            if is_late or all(one.closed_at is not None for one in requests):
                return requests
            await asyncio.sleep(_POLL_S)

    async def _check_account(
        self, measured: Measurements, before: TargetAccount, findings: Findings
    ) -> None:
        """Compare what the account lost with what the streams were charged."""
        after = await self._settled_account(before)
        findings.held_left_microcredits = after.held_microcredits - before.held_microcredits
        is_known = all(map(_is_charge_known, measured.rows)) and not measured.rows_dropped
        if is_known:
            charged = sum(row.charged_microcredits or 0 for row in measured.rows)
            lost = before.credits_microcredits - after.credits_microcredits
            findings.balance_error_microcredits = lost - charged

    async def _settled_account(self, before: TargetAccount) -> TargetAccount:
        """Return the account when nothing more is held than before, or after a while as it is."""
        deadline_ns = self._clock.now_ns() + int(_SETTLE_TIMEOUT_S * 1e9)
        while True:
            account = await read_account(self._connections)
            is_settled = account.held_microcredits <= before.held_microcredits
            if is_settled or self._clock.now_ns() > deadline_ns:
                return account
            await asyncio.sleep(_POLL_S)

    async def _ledger_balances(self, admin_key: str) -> bool | None:
        call = SpokenCall("GET", "/admin/v1/ledger/audit")
        try:
            value = await self._connections.json(call, Authorization=f"Bearer {admin_key}")
        except (Refused, ValueError, *UNREACHED) as error:
            raise LoadError(f"The ledger could not be audited: {error}") from None
        return bool(value.get("ok"))


def _is_charge_known(row: StreamRow) -> bool:
    """Whether its end was seen, or it never began; one that broke without a word may have cost."""
    return row.is_whole or (row.outcome is Outcome.REFUSED and not row.is_started)


def _record_close(row: StreamRow, finding: Finding, measured: Measurements) -> None:
    if finding.closed_after_s is None or not row.is_measured:
        return
    if row.left_at_s is not None:
        metric = Metric.LEFT_CLOSED
    elif row.outcome is Outcome.CANCELLED:
        metric = Metric.CANCEL_CLOSED
    else:
        return
    measured.histograms[metric].record(int(finding.closed_after_s * 1e9))
