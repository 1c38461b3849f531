"""What the scripted model says: a function of the conversation, the tools and what was asked of it.

- A prompt that says "count slowly" is counted for, a number each 50 ms, until it is cancelled; one that
  says "count to N" at once.
- A tool that fits the prompt and has no result yet is called; a forced one is called anyway. A shell
  fits a prompt that says "run `COMMAND`", any other one a prompt that has a word of its name.
- After a result the answer tells it. Under a schema, or a forced choice after all results, it is filled in.
- "What did I say first?" is answered with the conversation's first prompt: so a lost history shows.
- Agents that have their tools in the prompt (code between tags, "Action:" lines) get what they parse.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Call", "Conversation", "Refused", "Result", "Tool", "Turn", "decide", "words_of"]

COUNT = 400
SHELLS = frozenset({"bash", "shell", "exec_command", "shell_command", "local_shell", "exec"})
FINAL = re.compile(r"final|output|answer|structured", re.IGNORECASE)
NO_PROMPT = ("<system-reminder>", "<environment_context>", "<user_instructions>", "# AGENTS.md")
OBSERVATION = "Observation:"
NEW_TASK = "New task:"


class Refused(Exception):
    """The provider's 400; the message says which member, `details` what SDKs act on."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class Tool:
    name: str
    schema: dict[str, Any] = field(default_factory=dict)
    kind: str = "function"
    namespace: str = ""


@dataclass(frozen=True)
class Result:
    name: str
    text: str


@dataclass(frozen=True)
class Call:
    tool: Tool
    arguments: dict[str, Any]

    @property
    def text(self) -> str:
        """What a custom tool is given: text as it is."""
        return str(next(iter(self.arguments.values()), ""))


@dataclass
class Conversation:
    """What all wire formats tell alike. `choice`: auto, none, required, or a tool's name."""

    system: str = ""
    prompts: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: str = "auto"
    schema: dict[str, Any] | None = None
    thinks: bool = False
    limit: int | None = None
    stops: tuple[str, ...] = ()

    def user_says(self, text: str) -> None:
        """Take a text of the user's; a new prompt makes what earlier tools said history."""
        text = text.strip()
        if text.startswith(OBSERVATION):
            told, _, task = text.removeprefix(OBSERVATION).partition(NEW_TASK)
            self.results.append(Result("", told.strip()))
            if task:
                self.user_says(task)
        elif text and not text.startswith(NO_PROMPT):
            self.prompts.append(text)
            self.results.clear()

    @property
    def prompt(self) -> str:
        return self.prompts[-1] if self.prompts else ""


@dataclass
class Turn:
    """What the model does next. `cut`: the limit ended it."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thought: str = ""
    slowly: bool = False
    cut: bool = False


def words_of(text: str) -> list[str]:
    """The text in pieces as a stream has them; joined they are the text."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])


def decide(asked: Conversation) -> Turn:
    """The model's turn."""
    turn = _turn(asked)
    if asked.thinks and not turn.slowly:
        turn.thought = "Let me think about that."
    for stop in asked.stops:
        turn.text = turn.text.split(stop, 1)[0]
    words = words_of(turn.text)
    if asked.limit is not None and len(words) > asked.limit:
        turn.text, turn.cut = "".join(words[: asked.limit]), True
    return turn


def _turn(asked: Conversation) -> Turn:
    call = _call(asked)
    if call is not None:
        return Turn(calls=(call,))
    if "count slowly" in asked.prompt.lower():
        return Turn(text=" ".join(str(n) for n in range(1, COUNT + 1)), slowly=True)
    far = re.search(r"count to (\d+)", asked.prompt.lower())
    if far:
        return Turn(text=" ".join(str(n) for n in range(1, int(far.group(1)) + 1)))
    if asked.schema is not None:
        return Turn(text=json.dumps(_Filled(asked.schema, asked).value(asked.schema)))
    if not asked.tools:
        written = _written_out(asked)
        if written:
            return Turn(text=written)
    return Turn(text=_answer(asked))


def _answer(asked: Conversation) -> str:
    if asked.results:
        return f"The tool said: {asked.results[-1].text.strip()}"
    if "say first" in asked.prompt:
        return f"You said first: {asked.prompts[0]}"
    return "Hello from the scripted model."


def _call(asked: Conversation) -> Call | None:
    """The call to make, if any."""
    if asked.choice == "none" or not asked.tools:
        return None
    called = {result.name for result in asked.results}
    fresh = [tool for tool in asked.tools if tool.name not in called]
    if asked.choice not in ("auto", "required"):
        tool = next((tool for tool in asked.tools if tool.name == asked.choice), None)
        if tool is None:
            raise Refused(f"Tool choice '{asked.choice}' not found in 'tools' parameter.")
        return _filled_call(tool, asked)
    named = [tool for tool in fresh if "_" in tool.name and tool.name in asked.prompt]
    fitting = named or [tool for tool in fresh if _fits(tool, asked.prompt)]
    fitting = [] if asked.results else fitting
    if fitting:
        return _filled_call(fitting[0], asked)
    if asked.choice == "required":
        final = [tool for tool in asked.tools if FINAL.search(tool.name)]
        return _filled_call((final or fresh or asked.tools)[0], asked)
    return None


def _fits(tool: Tool, prompt: str) -> bool:
    if _command(prompt):
        return tool.name.lower() in SHELLS
    if FINAL.search(tool.name):
        return False
    words = re.findall(r"[a-z]{5,}", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool.name).lower())
    return any(word in prompt.lower() for word in words) if words else tool.name in prompt


def _command(prompt: str) -> str:
    found = re.search(r"\b[Rr]un `([^`]+)`", prompt)
    return found.group(1) if found else ""


def _filled_call(tool: Tool, asked: Conversation) -> Call:
    if tool.kind == "custom":
        return Call(tool, {"input": f"midstream for {tool.name}"})
    if tool.kind == "local_shell":
        return Call(tool, {"command": ["bash", "-lc", _command(asked.prompt)]})
    value = _Filled(tool.schema, asked).value(tool.schema or {"type": "object"})
    return Call(tool, value if isinstance(value, dict) else {})


class _Filled:
    """A value that a schema allows; names of members tell what would be sensible."""

    def __init__(self, root: dict[str, Any], asked: Conversation) -> None:
        self._root = root
        self._asked = asked

    def value(self, schema: Any, name: str = "") -> Any:
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            return self.value(self._resolved(schema["$ref"]), name)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word):
                return self.value(schema[word][0], name)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema)
        if kind == "array":
            command = _command(self._asked.prompt)
            if name in ("command", "cmd") and command:
                return ["bash", "-lc", command]
            return [self.value(schema.get("items") or {"type": "string"}, name)]
        return self._plain(kind, schema, name)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        members = schema.get("properties") or {}
        wanted = schema.get("required") or list(members)
        return {one: self.value(members.get(one, {"type": "string"}), one) for one in wanted}

    def _plain(self, kind: str | None, schema: dict[str, Any], name: str) -> Any:
        if kind == "integer":
            return max(42, int(schema.get("minimum", 42)))
        if kind == "number":
            return 21.5
        if kind == "boolean":
            return False
        if kind == "null":
            return None
        if name in ("command", "cmd", "script"):
            return _command(self._asked.prompt) or "echo midstream"
        if name in ("answer", "response") or self._asked.results:
            return _answer(self._asked)
        return {"city": "Paris", "location": "Paris", "name": "Ada"}.get(name, "midstream")

    def _resolved(self, reference: str) -> Any:
        value: Any = self._root
        for step in reference.removeprefix("#/").split("/"):
            value = value[step]
        return value


def _written_out(asked: Conversation) -> str:
    """What agents parse out of text: smolagents' code, ReAct's lines."""
    system = asked.system + " ".join(asked.prompts[:1])
    fits = "weather" in asked.prompt.lower()
    if "final_answer" in system and "<code>" in system:
        if fits and not asked.results:
            code = 'print(weather(city="Paris"))'
        else:
            code = f"final_answer({_answer(asked)!r})"
        return f"Thought: I write code.\n<code>\n{code}\n</code>"
    if "Action Input:" in system:
        if fits and not asked.results:
            return 'Thought: I need a tool.\nAction: weather\nAction Input: {"city": "Paris"}'
        return f"Thought: I can answer without using any more tools.\nAnswer: {_answer(asked)}"
    return ""
