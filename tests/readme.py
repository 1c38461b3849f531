"""The parts of README.md that are made from the code: `python -m tests.readme` writes them anew.

The diagram is drawn from the machine's table of transitions, the settings from their dataclass; a test
holds the file to both.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from actors.core.transitions import TRANSITIONS, StreamState
from actors.settings import Settings

README = Path(__file__).parent.parent / "README.md"

_START = "<!-- {}: python -m tests.readme -->\n"
_END = "<!-- end -->"


def state_diagram() -> str:
    """The stream's machine as a Mermaid diagram; what stays where it is is left out."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    lines += [
        f"    {before} --> {after}: {kind.__name__}"
        for (before, kind), after in TRANSITIONS.items()
        if before is not after
    ]
    lines += [f"    {state} --> [*]" for state in StreamState if state.is_terminal]
    return "\n".join([*lines, "```", ""])


def settings_table() -> str:
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for setting in fields(Settings):
        meaning = setting.metadata.get("meaning")
        if meaning:
            default = f"`{setting.default}`" if setting.default != "" else ""
            rows.append(f"| `MIDSTREAM_{setting.name.upper()}` | {default} | {meaning} |")
    return "\n".join([*rows, ""])


PARTS = {"state diagram": state_diagram, "settings": settings_table}


def with_parts(text: str) -> str:
    """Return the README's text with every part made anew."""
    for name, make in PARTS.items():
        start = _START.format(name)
        head, rest = text.split(start)
        text = head + start + make() + rest[rest.index(_END) :]
    return text


if __name__ == "__main__":
    README.write_text(with_parts(README.read_text("utf-8")), "utf-8")
