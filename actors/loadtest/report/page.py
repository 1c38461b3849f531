"""A run's figures as one page of HTML that needs nothing beside itself: no script, font or host.

Everything that a server may have said is escaped. The figures themselves are in the page too, as JSON,
so that the file is the whole record of its run.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from actors.loadtest.report.charts import Curve, curve_chart, histogram_chart, short, time_chart
from actors.loadtest.report.table import (
    TextTable,
    error_lines,
    metric_name,
    milliseconds,
    tables,
    verdict,
)

__all__ = ["render_page"]

_DISTRIBUTIONS = (
    "ttft", "itl", "tpot", "e2e", "cancel_closed", "cancel_ack", "cancel_told", "left_closed",
    "resume",
)  # fmt: skip
_MARKS = ("p50", "p99")


def render_page(figures: dict[str, Any]) -> str:
    """Return the page."""
    shown = _shown_level(figures)
    title = f"Load on {figures['url']}"
    body = "".join(
        (
            f"<h1>{escape(title)}</h1>",
            f'<p class="sub">{escape(_subtitle(figures))}</p>',
            _verdict(figures),
            _tiles(shown),
            _sweep(figures),
            _section("Over time", _level_words(figures, shown), _over_time(shown)),
            _section("Latency", _level_words(figures, shown), _distributions(shown)),
            "".join(_table(table) for table in tables(figures)),
            _errors(figures),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main>{_data(figures)}</body></html>\n"
    )


def _shown_level(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the level whose plots are shown: the knee's, or the last."""
    levels: list[dict[str, Any]] = figures["levels"]
    at_knee = [level for level in levels if level["level"] == figures["knee"]]
    return (at_knee or levels)[-1]


def _subtitle(figures: dict[str, Any]) -> str:
    plan = figures["plan"]
    loop = "closed loop" if plan["arrival"] == "closed" else f"open loop, {plan['arrival']}"
    return (
        f"{figures['dialect']} · model {figures['model']} · {loop} · "
        f"{figures['workers']} worker{'s' if figures['workers'] > 1 else ''} · "
        f"seed {plan['seed']} · latency counts from the intended start"
    )


def _level_words(figures: dict[str, Any], level: dict[str, Any]) -> str:
    return f"at {level['level']:g} {figures['plan']['level_is']}"


def _verdict(figures: dict[str, Any]) -> str:
    words = verdict(figures)
    stopped = [level["stopped"] for level in figures["levels"] if level["stopped"]]
    parts = [f'<p class="bad">{escape(one)}</p>' for one in (words, *stopped) if one]
    return "".join(parts)


def _tiles(level: dict[str, Any]) -> str:
    latency, truth, goodput = level["latency_ms"], level["truth"], level["goodput"]
    is_judged = goodput["limits_ms"] and goodput["judged"]
    tiles = [
        ("tokens a second", short(level["tokens_per_s"]), ""),
        ("streams ended", f"{level['streams']:,}", ""),
        ("first token p50", milliseconds(latency["ttft"]["p50"]), "ms"),
        ("first token p99", milliseconds(latency["ttft"]["p99"]), "ms"),
        ("within the limits", f"{goodput['good'] / goodput['judged']:.1%}", "")
        if is_judged
        else ("end to end p99", milliseconds(latency["e2e"]["p99"]), "ms"),
    ]
    html = "".join(_tile(name, value, unit) for name, value, unit in tiles)
    checks = [
        ("errors", level["errors"], ""),
        ("orphans", truth["orphans"], ""),
        ("billing error", truth["billing_error_microcredits"], "µcr"),
        ("balance error", truth["balance_error_microcredits"], "µcr"),
        ("wrong text", truth["wrong_texts"], ""),
    ]
    html += "".join(_check(name, value, unit) for name, value, unit in checks)
    return f'<div class="tiles">{html}</div>'


def _tile(name: str, value: str, unit: str, kind: str = "") -> str:
    return (
        f'<div class="tile {kind}"><b>{escape(value)}<small> {escape(unit)}</small></b>'
        f"<span>{escape(name)}</span></div>"
    )


def _check(name: str, value: int | None, unit: str) -> str:
    if value is None:
        return _tile(name, "n/a", "", "unknown")
    return _tile(name, f"{value:,}", unit if value else "", "wrong" if value else "right")


def _sweep(figures: dict[str, Any]) -> str:
    levels = figures["levels"]
    if len(levels) < 2:
        return ""
    loads = [level["level"] for level in levels]
    knee = figures["knee"]
    words = "no knee between these levels" if knee is None else f"knee at {knee:g}"
    tokens = [level["tokens_per_s"] for level in levels]
    first = [level["latency_ms"]["ttft"]["p99"] or 0.0 for level in levels]
    charts = "".join(
        _figure(name, curve_chart(Curve(loads, values, unit, knee, mark), name))
        for name, values, unit, mark in (
            ("Tokens a second", tokens, "tokens/s", "knee"),
            ("First token p99, ms", first, "ms", "knee"),
        )
    )
    return _section("Sweep", f"{words}, by {figures['plan']['level_is']}", charts)


def _over_time(level: dict[str, Any]) -> str:
    timeline = level["timeline"]
    width_s = timeline["width_s"]
    charts = [
        ("Tokens a second", time_chart(timeline["tokens_per_s"], width_s, "1", "Tokens a second")),
        ("Live streams", time_chart(timeline["live"], width_s, "2", "Live streams")),
    ]
    if any(timeline["errors"]):
        charts.append(("Errors", time_chart(timeline["errors"], width_s, "3", "Errors")))
    return "".join(_figure(name, chart, "wide") for name, chart in charts)


def _distributions(level: dict[str, Any]) -> str:
    charts = []
    for metric in _DISTRIBUTIONS:
        latency = level["latency_ms"][metric]
        if latency["count"]:
            name = metric_name(metric)
            marks = [(mark, latency[mark]) for mark in _MARKS]
            chart = histogram_chart(latency["bars"], marks, f"Distribution of {name}")
            charts.append(_figure(f"{name[:1].upper()}{name[1:]}", chart))
    return "".join(charts)


def _figure(name: str, chart: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><figcaption>{escape(name)}</figcaption>{chart}</figure>'


def _section(title: str, words: str, content: str) -> str:
    head = f"<h2>{escape(title)} <small>{escape(words)}</small></h2>"
    return f'{head}<div class="plots">{content}</div>'


def _table(table: TextTable) -> str:
    kinds = ["num" if heading.startswith("#") else "" for heading in table.headings]
    heads = "".join(
        f'<th class="{kind}">{escape(heading.lstrip("#").lower())}</th>'
        for kind, heading in zip(kinds, table.headings, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f"<h2>{escape(table.title)}</h2>"
        f'<div class="scroll"><table><tr>{heads}</tr>{rows}</table></div>'
    )


def _errors(figures: dict[str, Any]) -> str:
    lines = error_lines(figures)
    if not lines:
        return ""
    return (
        "<h2>What went wrong</h2><ul>" + "".join(f"<li>{escape(x)}</li>" for x in lines) + "</ul>"
    )


def _data(figures: dict[str, Any]) -> str:
    # `<` alone could end the element.
    value = json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="figures">{value}</script>'


_STYLE = """
:root{--paper:#fff;--ink:#1a1c1f;--soft:#667;--line:#e3e5ea;--one:#2563c9;--two:#0f8a6a;--bad:#c2331f;
--good:#0f8a6a;--tile:#f5f6f8;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#e8eaee;--soft:#98a;--line:#2c3038;
--one:#6fa3f5;--two:#4cc3a0;--bad:#f0806f;--good:#4cc3a0;--tile:#1d2026}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:24px;margin:0;overflow-wrap:anywhere}h2{font-size:17px;margin:34px 0 10px}
h2 small,.sub{color:var(--soft);font-weight:400;font-size:14px}.sub{margin:4px 0 18px}
.bad{border-left:4px solid var(--bad);padding:8px 12px;background:var(--tile);margin:8px 0}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:10px}
@media(max-width:700px){.tiles{grid-template-columns:repeat(2,1fr)}}
.tile{background:var(--tile);border-radius:8px;padding:10px 12px}
.tile b{font-size:21px;display:block;font-variant-numeric:tabular-nums}
.tile small{font-size:13px;font-weight:400}.tile span{color:var(--soft);font-size:13px}
.right b{color:var(--good)}.wrong b{color:var(--bad)}.unknown b{color:var(--soft)}
.plots{display:flex;flex-wrap:wrap;gap:18px 20px}
figure{margin:0;flex:1 1 400px;max-width:470px}figure.wide{flex-basis:100%;max-width:none}
figcaption{font-size:13px;color:var(--soft)}svg{display:block;width:100%;height:auto}
.fill1{fill:var(--one)}.line1,.line2,.line3{fill:none;stroke-width:1.6;stroke-linejoin:round}
.line1{stroke:var(--one)}.line2{stroke:var(--two)}.line3{stroke:var(--bad)}
.area1{fill:var(--one)}.area2{fill:var(--two)}.area3{fill:var(--bad)}
.area1,.area2,.area3{opacity:.14}.tip{fill:transparent}.tip:hover{fill:var(--ink);opacity:.08}
.axis{stroke:var(--soft)}.grid{stroke:var(--line)}.rule{stroke:var(--ink);stroke-dasharray:3 3}
.tick,.mark{font:11px system-ui,sans-serif;fill:var(--soft)}
.mark{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--paper);stroke-width:3px}
.dot{fill:var(--one)}.knee{fill:var(--paper);stroke:var(--bad);stroke-width:3}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 12px 4px 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:500}.num{text-align:right}li{overflow-wrap:anywhere}
""".replace("\n", "")
