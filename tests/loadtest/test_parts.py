"""The parts of a load test that need no server: the plan, the words for it, the sums, the verdicts.

Goal: a run is the same run however many workers share it, and a verdict is right at each of its edges.
"""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from actors.core.request import Dialect
from actors.loadtest.arguments import (
    parse_cancel_after,
    parse_duration,
    parse_length,
    parse_levels,
    parse_slo,
)
from actors.loadtest.connections import base_url
from actors.loadtest.delta_pattern import DeltaPattern
from actors.loadtest.ground_truth import Findings, UpstreamRequest, judge
from actors.loadtest.knee import Step, knee_of
from actors.loadtest.metrics import (
    ERRORS_MAX,
    Histogram,
    Measurements,
    Metric,
    Outcome,
    StreamRow,
)
from actors.loadtest.plan import (
    Arrival,
    CancelAfter,
    Fate,
    Length,
    Load,
    Plan,
    PlanError,
    Share,
    arrivals,
    stream_plan,
)
from actors.loadtest.reading import Reading, WrongStream
from actors.loadtest.report.figures import level_figures, run_figures
from actors.loadtest.report.page import render_page
from actors.loadtest.report.table import tables, verdict
from actors.loadtest.speech import speech_of
from actors.loadtest.target import Target, TargetPrices
from actors.loadtest.timeline import BUCKETS_MAX, Mark, StreamTimeline
from actors.upstream.tokenizer import count_text

GOLDEN = Path(__file__).parent.parent / "dialects" / "golden"

PLAN = Plan(
    url="http://127.0.0.1:8000",
    dialect=Dialect.CHAT,
    model="sim-long",
    load=Load(Arrival.POISSON, rate_per_s=50.0),
    count=100,
    max_tokens=Length(10, 30),
    cancel_fraction=0.2,
    disconnect_fraction=0.1,
    resume_fraction=0.3,
    observers=2,
    seed=5,
)

# The plan.


def test_a_stream_follows_from_the_seed_and_its_number() -> None:
    assert stream_plan(PLAN, 7) == stream_plan(PLAN, 7)
    assert stream_plan(PLAN, 7) != stream_plan(PLAN, 8)
    assert stream_plan(PLAN, 7) != stream_plan(replace(PLAN, seed=6), 7)


def test_fates_come_in_their_fractions() -> None:
    streams = [stream_plan(PLAN, number) for number in range(2_000)]
    fates = Counter(stream.fate for stream in streams)
    assert fates[Fate.CANCEL] == pytest.approx(400, abs=60)
    assert fates[Fate.DISCONNECT] == pytest.approx(200, abs=50)
    assert fates[Fate.RESUME] == pytest.approx(600, abs=70)
    for stream in streams:
        assert 10 <= stream.max_tokens <= 30
        assert 1 <= stream.leave_after < stream.max_tokens
        assert stream.observers == (0 if stream.fate is Fate.DISCONNECT else 2)


def test_a_prompt_has_as_many_tokens_as_were_asked_for() -> None:
    plan = replace(PLAN, prompt_tokens=Length(40, 40))
    assert count_text(stream_plan(plan, 1).prompt) == 40


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("arrival", [Arrival.POISSON, Arrival.CONSTANT])
def test_workers_share_the_same_arrivals(workers: int, arrival: Arrival) -> None:
    plan = replace(PLAN, load=Load(arrival, rate_per_s=50.0))
    whole = list(islice(arrivals(plan, Share()), 42))
    shares = [Share(index, workers) for index in range(workers)]
    parts = [list(islice(arrivals(plan, share), 42)) for share in shares]
    assert sorted(chain.from_iterable(parts))[:42] == whole
    assert sum(share.of(100) for share in shares) == 100
    numbers = [islice(share.numbers(), 50) for share in shares]
    assert sorted(chain.from_iterable(numbers))[:50] == list(range(50))
    assert whole[0] == 0.0 and whole == sorted(whole)


def test_poisson_arrivals_have_the_rate() -> None:
    last = list(islice(arrivals(PLAN, Share()), 5_000))[-1]
    assert last == pytest.approx(100.0, rel=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"load": Load(Arrival.CLOSED, streams=0)},
        {"load": Load(Arrival.POISSON, rate_per_s=0.0)},
        {"load": Load(Arrival.POISSON, rate_per_s=float("nan"))},
        {"count": 0},
        {"duration_s": 5.0},
        {"cancel_fraction": 1.5},
        {"cancel_fraction": 0.9},
        {"observers": -1},
        {"warmup_s": -1.0},
    ],
)
def test_a_plan_that_is_none_is_one_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=r"^[^\n]+\.$"):
        replace(PLAN, **changes)


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(replace(PLAN, api_key="secret"))


# The words for it.


def test_words_are_read() -> None:
    assert parse_duration("200ms", "--x") == pytest.approx(0.2)
    assert parse_duration("2m", "--x") == 120.0
    assert parse_length("10-20", "--x") == Length(10, 20)
    assert parse_cancel_after("8") == parse_cancel_after("8 tokens") == CancelAfter(tokens=8)
    assert parse_cancel_after("500ms") == CancelAfter(seconds=0.5)
    assert parse_levels("1,8,64.5") == (1.0, 8.0, 64.5)
    assert parse_slo("ttft=200ms, itl=50ms").limits == {"ttft": 0.2, "itl": 0.05}
    assert parse_slo("").limits == {}
    assert base_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda text: parse_duration(text, "--x"), "soon"),
        (lambda text: parse_duration(text, "--x"), "-1s"),
        (lambda text: parse_length(text, "--x"), "0"),
        (lambda text: parse_length(text, "--x"), "20-10"),
        (parse_cancel_after, "0"),
        (parse_cancel_after, "later"),
        (parse_levels, "8,1"),
        (parse_levels, "1,nan"),
        (parse_levels, ""),
        (parse_slo, "speed=1s"),
        (parse_slo, "ttft"),
        (base_url, "127.0.0.1"),
        (base_url, "ftp://host"),
        (base_url, "http://host:99999"),
    ],
)
def test_words_that_say_nothing_are_one_sentence(read: Any, text: str) -> None:
    with pytest.raises(PlanError, match=r"^[^\n]+\.$"):
        read(text)


# Reading.


def chat_frame(number: int, text: str) -> bytes:
    value = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return b"id: %d\ndata: %b\n\n" % (number, json.dumps(value).encode())


def read(*frames: bytes) -> Reading:
    gaps: list[tuple[int, int]] = []
    reading = Reading(speech_of(PLAN).reader(), lambda gap_ns, pairs: gaps.append((gap_ns, pairs)))
    for at, frame in enumerate(frames):
        reading.receive(frame, at * 1_000)
    assert sum(pairs for _, pairs in gaps) == max(0, reading.tokens - 1)
    return reading


def test_tokens_are_counted_and_timed() -> None:
    reading = read(chat_frame(0, ""), chat_frame(1, "a") + chat_frame(2, "b"), chat_frame(3, "c"))
    assert (reading.tokens, reading.characters, reading.cursor) == (3, 3, 3)
    assert (reading.first_ns, reading.last_ns, reading.gap_max_ns) == (1_000, 2_000, 1_000)
    assert reading.digest == digest("abc")


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1, 0), (1, 2)])
def test_a_frame_that_is_missing_or_came_twice_is_wrong(numbers: tuple[int, ...]) -> None:
    with pytest.raises(WrongStream):
        read(*(chat_frame(number, "a") for number in numbers))


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b'data: {"choices": [3]}\n\n'])
def test_what_is_no_frame_is_wrong(data: bytes) -> None:
    with pytest.raises(WrongStream):
        read(data)


def test_a_frame_is_recognized_by_all_but_its_text() -> None:
    def data(text: str, end: str = "null") -> str:
        return f'{{"d":{{"content":{json.dumps(text)}}},"end":{end}}}'

    pattern = DeltaPattern('"content":')
    assert pattern.match("message", data("a")) is None
    pattern.learn("message", data("a"), "a")
    assert pattern.match("message", data(" word")) == " word"
    assert pattern.match("message", data("")) == ""
    # Another event, another end, a text that has to be decoded, and no frame at all.
    assert pattern.match("refusal", data("a")) is None
    assert pattern.match("message", data("a", "1")) is None
    assert pattern.match("message", data('a"b')) is None
    assert pattern.match("message", data("a\\b")) is None
    assert pattern.match("message", '{"d":{"content":"},"end":null}') is None


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_golden_streams_are_read_the_same_however_they_are_cut(dialect: Dialect, size: int) -> None:
    for file in sorted((GOLDEN / dialect.value).glob("*.sse")):
        data = file.read_bytes()
        reading = Reading(speech_of(replace(PLAN, dialect=dialect)).reader())
        for at in range(0, len(data), size):
            reading.receive(data[at : at + size], at)
        assert reading.ending is not None, file
        if file.stem == "text":
            assert (reading.ending.status, reading.tokens > 0) == ("completed", True)
            assert reading.ending.charged_microcredits
        elif file.stem.startswith("cancelled"):
            assert reading.ending.status == "cancelled"
        elif file.stem.startswith("failed"):
            assert reading.ending.status == "failed"


# The sums.


def test_histograms_of_workers_add_up() -> None:
    whole, parts = Histogram(), [Histogram(), Histogram()]
    for value_ns in range(1_000_000, 200_000_000, 997_001):
        whole.record(value_ns)
        parts[value_ns % 2].record(value_ns)
    merged, other = pickle.loads(pickle.dumps(parts))
    merged.add(other)
    assert merged.values_ms() == whole.values_ms()
    (median, most) = whole.percentiles_ms([50.0, 99.9])
    assert median == pytest.approx(100.0, rel=0.02)
    assert most == whole.max_ms() == pytest.approx(199.6, rel=0.01)
    assert whole.mean_ms() == pytest.approx(100.0, rel=0.02)


def test_an_empty_histogram_and_one_past_its_ends() -> None:
    histogram = Histogram()
    assert histogram.percentiles_ms([50.0]) == [0.0]
    histogram.record(-5)
    histogram.record(10**18)
    assert histogram.count == 2
    assert histogram.max_ms() == pytest.approx(3_600_000, rel=0.001)


def measurements(tokens: int = 10) -> Measurements:
    one = Measurements(seconds=2.0, window_tokens=tokens, window_ended=1, judged=1, good=1)
    one.histograms[Metric.TTFT].record(5_000_000)
    one.histograms[Metric.ITL].record(0, 3)
    one.outcomes["completed"] += 1
    one.timeline.add(Mark.STARTED, 0.1)
    one.timeline.add(Mark.TOKENS, 0.4, tokens)
    one.timeline.add(Mark.ENDED, 0.9)
    one.keep(StreamRow(1, outcome=Outcome.COMPLETED, charged_microcredits=3))
    return one


def test_what_workers_measured_travels_and_adds_up() -> None:
    parts = [measurements(10), measurements(20)]
    whole = Measurements.merged(pickle.loads(pickle.dumps(part)) for part in parts)
    assert whole.window_tokens == 30
    assert whole.seconds == 2.0
    assert whole.outcomes["completed"] == 2
    assert whole.histograms[Metric.ITL].count == 6
    assert whole.timeline.live() == [2, 2, 2, 0]
    assert [row.outcome for row in whole.rows] == [Outcome.COMPLETED] * 2


def test_errors_are_bounded() -> None:
    one = Measurements()
    for number in range(1_000):
        one.note(f"{number} {'x' * 1_000}")
    assert len(one.errors) == ERRORS_MAX + 1
    assert sum(one.errors.values()) == 1_000
    assert max(map(len, one.errors)) <= 300


def test_a_day_fits_into_a_timeline() -> None:
    timeline = StreamTimeline()
    for second in range(0, 86_400, 60):
        timeline.add(Mark.TOKENS, float(second))
    assert len(timeline.buckets) <= BUCKETS_MAX
    assert sum(bucket[Mark.TOKENS] for bucket in timeline.buckets) == 1_440


def test_timelines_of_unequal_width_add_up() -> None:
    short, long = StreamTimeline(), StreamTimeline()
    short.add(Mark.TOKENS, 1.0, 5)
    long.add(Mark.TOKENS, 5_000.0, 7)
    merged = StreamTimeline.merged([short, long])
    assert merged.width_s == long.width_s > short.width_s
    assert sum(bucket[Mark.TOKENS] for bucket in merged.buckets) == 12
    assert merged.buckets[int(1.0 / merged.width_s)][Mark.TOKENS] == 5


# The verdicts.

PRICES = TargetPrices(75, 450)
TEXT = " one two three"


def digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def row(text: str = TEXT, charged: int | None = 75 * 10 + 450 * 3, **changes: Any) -> StreamRow:
    whole = StreamRow(
        0,
        completion_id="cmp_1",
        outcome=Outcome.COMPLETED,
        is_whole=True,
        is_started=True,
        tokens=3,
        characters=len(text),
        digest=digest(text),
        charged_microcredits=charged,
        ended_at_s=100.0,
    )
    return replace(whole, **changes)


def upstream(closed_at: float | None = 100.0, sent: int = 3, text: str = TEXT) -> UpstreamRequest:
    return UpstreamRequest(sent, text, 10, closed_at)


def judged(one: StreamRow, *requests: UpstreamRequest, prices: TargetPrices | None = PRICES) -> Any:
    return judge(one, requests, prices=prices, is_words=True, orphan_grace_s=1.0)


def test_a_right_stream_is_right() -> None:
    finding = judged(row(), upstream())
    assert (finding.is_orphan, finding.billing_error_microcredits) == (False, 0)
    assert (finding.unread_tokens, finding.is_text_wrong) == (0, False)


@pytest.mark.parametrize(
    ("closed_at", "is_orphan"), [(99.0, False), (101.0, False), (101.1, True), (None, True)]
)
def test_an_orphan_is_open_after_the_grace(closed_at: float | None, is_orphan: bool) -> None:
    assert judged(row(), upstream(closed_at)).is_orphan is is_orphan
    # A retry's first request counts as the last one does.
    assert judged(row(), upstream(closed_at), upstream()).is_orphan is is_orphan


def test_a_cancelled_stream_may_have_unread_tokens() -> None:
    cut = row(" one two", 75 * 10 + 450 * 2, tokens=2, outcome=Outcome.CANCELLED)
    cut.cancelled_at_s = 99.5
    finding = judged(cut, upstream())
    assert finding.unread_tokens == 1
    assert finding.billing_error_microcredits == 0
    assert finding.is_text_wrong is False
    assert finding.closed_after_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("charged", "error"), [(75 * 10 + 450 * 4, 450), (75 * 10 + 450 * 2, -450), (0, -2_100)]
)
def test_a_wrong_charge_is_told_with_its_sign(charged: int, error: int) -> None:
    assert judged(row(charged=charged), upstream()).billing_error_microcredits == error


def test_wrong_charges_do_not_make_up_for_each_other() -> None:
    findings = Findings()
    for charged in (75 * 10 + 450 * 4, 75 * 10 + 450 * 2):
        findings.add(one := row(charged=charged), judged(one, upstream()))
    assert findings.billing_errors == 2
    assert findings.billing_error_microcredits == 900
    assert findings.examples["billing"] == ["cmp_1 +450", "cmp_1 -450"]


def test_a_charge_for_nothing_asked_is_a_billing_error() -> None:
    assert judged(row(charged=5)).billing_error_microcredits == 5
    assert judged(row(charged=0)).billing_error_microcredits is None


def test_what_cannot_be_known_is_not_said() -> None:
    assert judged(row(), upstream(), prices=None).billing_error_microcredits is None
    assert judged(row(charged=None), upstream()).billing_error_microcredits is None
    cut = judged(row(is_whole=False), upstream())
    assert (cut.billing_error_microcredits, cut.unread_tokens, cut.is_text_wrong) == (None,) * 3


@pytest.mark.parametrize(
    ("steps", "knee"),
    [
        ([(1, 100), (8, 700), (64, 2_000), (512, 2_100)], 64),
        ([(1, 100), (2, 100)], 1),
        ([(1, 100), (2, 200)], None),
    ],
)
def test_the_knee_is_the_last_level_that_was_worth_its_load(
    steps: list[tuple[int, int]], knee: float | None
) -> None:
    assert knee_of([Step(level, tokens, 0.0, 1.0) for level, tokens in steps]) == knee


def test_errors_and_broken_limits_are_past_the_knee() -> None:
    assert knee_of([Step(1, 100, 0.0, 1.0), Step(2, 200, 0.02, 1.0)]) == 1
    assert knee_of([Step(1, 100, 0.0, 1.0), Step(2, 200, 0.0, 0.9)]) == 1
    assert knee_of([Step(1, 100, 0.5, 1.0)]) is None


# The report.


def figures(**findings: Any) -> dict[str, Any]:
    measured = measurements()
    measured.note('<script>alert("x")</script>')
    levels = [
        level_figures(replace(PLAN, load=PLAN.load.at(level)), measured, Findings(**findings))
        for level in (1.0, 8.0)
    ]
    return run_figures(PLAN, 2, Target(True, prices=PRICES), levels)


def test_figures_are_json() -> None:
    found = figures(checked=1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["is_clean"]
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    "fault",
    [
        {"orphans": 1},
        {"billing_errors": 1, "billed": 1, "billing_error_microcredits": 1},
        {"balance_error_microcredits": -1},
        {"held_left_microcredits": 1},
        {"wrong_texts": 1},
        {"ledger": False},
    ],
)
def test_each_fault_is_not_clean_and_has_its_sentence(fault: dict[str, Any]) -> None:
    found = figures(**fault)
    assert not found["is_clean"]
    assert verdict(found).endswith(".")


def test_the_page_is_whole_in_itself_and_escapes_what_servers_say() -> None:
    page = render_page(figures(unavailable="no log"))
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?(?!#)\w', page)
    assert page.count("<svg") == page.count("</svg>") >= 6
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    data = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert data is not None
    assert json.loads(data[1])["format"] == 1
    assert "n/a" in page


def test_a_run_that_measured_nothing_has_its_tables_and_its_page() -> None:
    level = level_figures(PLAN, Measurements(), Findings(unavailable="no log"))
    found = run_figures(PLAN, 1, Target(False), [level])
    assert len(tables(found)) == 3
    assert "</html>" in render_page(found)
