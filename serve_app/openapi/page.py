"""`/docs/api`: the OpenAPI document as one page that needs nothing from anywhere else.

Owns HTML, and nothing of what the application does: all that it shows is in the document. Inline CSS,
and a few lines of script that hide what does not match a search; without them everything is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["page"]

_CSS = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; --code: #8881; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { margin: 0; } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
p.about { color: var(--quiet); margin: .25rem 0 1rem; }
input { font: inherit; width: 100%; padding: .5rem .75rem; border: 1px solid var(--line);
  border-radius: .5rem; background: transparent; color: inherit; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0; }
details details { border: 0; margin: 0; }
summary { cursor: pointer; padding: .5rem .75rem; }
.method { display: inline-block; min-width: 4.2rem; font: 600 .8rem ui-monospace, monospace; }
.path { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.says { color: var(--quiet); float: right; padding-left: 1rem; }
.inner { padding: 0 .75rem .75rem; border-top: 1px solid var(--line); overflow-x: auto; }
h3 { font-size: .9rem; margin: 1rem 0 .25rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
td { border-top: 1px solid var(--line); padding: .3rem .5rem .3rem 0; vertical-align: top; }
code, pre { font: .85rem ui-monospace, monospace; background: var(--code); border-radius: .25rem; }
code { padding: .1rem .25rem; } pre { padding: .75rem; overflow-x: auto; margin: .25rem 0; }
@media (max-width: 40rem) { .says { float: none; display: block; padding: 0; } }
"""

_SCRIPT = """
const box = document.getElementById("search");
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const one of document.querySelectorAll("details.operation"))
    one.hidden = !words.every(word => one.dataset.search.includes(word));
  for (const group of document.querySelectorAll("section"))
    group.hidden = !group.querySelector("details.operation:not([hidden])");
});
"""

_WHO = {
    "bearer": "A team's key: <code>Authorization: Bearer KEY</code>, <code>X-Api-Key: KEY</code> "
    "or <code>api-key: KEY</code>.",
    "admin": "The administrator's key: <code>Authorization: Bearer KEY</code>.",
}


def page(document: Mapping[str, Any]) -> bytes:
    """Return the document as HTML."""
    info = document["info"]
    title = escape(f"{info['title']} API")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_CSS}</style></head><body>",
        f'<h1>{title}</h1><p class="about">{escape(info["description"])} ',
        '<a href="/openapi.json">openapi.json</a></p>',
        '<input id="search" type="search" placeholder="Search: a path, a method, a word" '
        'aria-label="Search" autofocus>',
        *_groups(document),
        f"<h2>Schemas</h2>{''.join(_schemas(document))}",
        f"<script>{_SCRIPT}</script></body></html>",
    ]
    return "".join(parts).encode()


def _groups(document: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shown = _operation(method.upper(), path, operation)
            groups.setdefault(operation["tags"][0], []).append(shown)
    for name, shown_ones in groups.items():
        yield f"<section><h2>{escape(name)}</h2>{''.join(shown_ones)}</section>"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    says = operation["summary"]
    search = escape(f"{method} {path} {says} {operation['tags'][0]}".lower(), quote=True)
    name = escape(operation["operationId"], quote=True)
    return (
        f'<details class="operation" id="{name}" data-search="{search}"><summary>'
        f'<span class="method">{method}</span><span class="path">{escape(path)}</span>'
        f'<span class="says">{escape(says)}</span></summary><div class="inner">'
        f"{_access(operation)}{_parameters(operation)}{_body(operation)}{_responses(operation)}"
        "</div></details>"
    )


def _access(operation: Mapping[str, Any]) -> str:
    schemes = [name for scheme in operation["security"] for name in scheme]
    return f"<h3>Key</h3>{_WHO[schemes[0]] if schemes else 'None.'}"


def _parameters(operation: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}"
        f"{', required' if one['required'] else ''}</td>"
        f"<td>{escape(one.get('description', ''))} {_schema(one['schema'])}</td></tr>"
        for one in operation["parameters"]
    ]
    return f"<h3>Parameters</h3><table>{''.join(rows)}</table>" if rows else ""


def _body(operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    return f"<h3>Body</h3>{_content(body['content'])}"


def _responses(operation: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{status}</code></td><td>{escape(response['description'])}</td>"
        f"<td>{_content(response.get('content', {}))}</td></tr>"
        for status, response in operation["responses"].items()
    ]
    return f"<h3>Answers</h3><table>{''.join(rows)}</table>"


def _content(content: Mapping[str, Any]) -> str:
    return "<br>".join(
        f"<code>{escape(media)}</code> {_schema(described.get('schema'))}"
        for media, described in content.items()
    )


def _schema(schema: Mapping[str, Any] | None) -> str:
    """Return a link to a schema with a name, else the schema itself."""
    if schema is None:
        return ""
    reference = schema.get("$ref")
    if reference is None:
        return f"<code>{escape(json.dumps(schema))}</code>"
    name = escape(reference.rpartition("/")[2], quote=True)
    return f'<a href="#schema-{name}">{name}</a>'


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        anchor = escape(name, quote=True)
        yield (
            f'<details id="schema-{anchor}"><summary><span class="path">{escape(name)}</span>'
            f'</summary><div class="inner"><pre>{text}</pre></div></details>'
        )
