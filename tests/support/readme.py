"""The parts of README.md that are made from the code: `python -m tests.support.readme` writes them anew.

The diagram is drawn from the machine's table of transitions, the settings from their dataclass, the
members of the configuration file from its models; a test holds the file to all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from actors.core.completion.transitions import TRANSITIONS, StreamState
from actors.settings import Settings
from actors.upstream.config import Config, ModelConfig, ProviderConfig, TimeoutsConfig

README = Path(__file__).parent.parent.parent / "README.md"

_START = "<!-- {}: python -m tests.support.readme -->\n"
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


def configuration_table() -> str:
    rows = ["| member | default | what it is |", "|---|---|---|"]
    return "\n".join([*rows, *_members(Config, ""), ""])


_BELOW: dict[str, tuple[str, type[BaseModel]]] = {
    "providers": ("providers.NAME", ProviderConfig),
    "models": ("models.SLUG", ModelConfig),
}


def _members(kind: type[BaseModel], path: str) -> Iterator[str]:
    """Yield a row for each member, and for those below it."""
    for name, member in kind.model_fields.items():
        yield f"| `{path}{name}` | {_default(member)} | {member.description} |"
        if member.annotation is TimeoutsConfig:
            yield from _members(TimeoutsConfig, f"{path}{name}.")
        elif not path and name in _BELOW:
            below, of = _BELOW[name]
            yield from _members(of, f"{below}.")


def _default(member: FieldInfo) -> str:
    """Return the default as the file would say it; of what has to be there, that."""
    if member.is_required():
        return "needed"
    value = member.default
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


PARTS = {
    "state diagram": state_diagram,
    "settings": settings_table,
    "configuration": configuration_table,
}


def with_parts(text: str) -> str:
    """Return the README's text with every part made anew."""
    for name, make in PARTS.items():
        start = _START.format(name)
        head, rest = text.split(start)
        text = head + start + make() + rest[rest.index(_END) :]
    return text


if __name__ == "__main__":
    README.write_text(with_parts(README.read_text("utf-8")), "utf-8")
