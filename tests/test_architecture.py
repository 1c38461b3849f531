"""The layers of the design, held by a machine: who imports whom, what core may not call, sizes, exports.

Goal: a change that bends the architecture fails here, with the name of the rule. Method: the source
is parsed, not imported, but where importing is what is checked.
"""

from __future__ import annotations

import ast
import functools
import importlib
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.core.errors import (
    CompletionIdInUse,
    CompletionRuntimeError,
    Failure,
    FailureCode,
    IllegalTransition,
    InsufficientCredit,
    InvalidRequest,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    Unauthenticated,
    UnknownModel,
    UnknownProvider,
    UpstreamError,
)
from serve_app.http.errors import (
    MethodNotAllowed,
    RequestTimedOut,
    UnsupportedCoding,
    UnsupportedVersion,
)

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("actors/**/*.py"), *ROOT.glob("serve_app/**/*.py")])

CORE_LINES_MAX = 400
SHELL_LINES_MAX = 450
FUNCTION_LINES_MAX = 70

# The modules that are processes of Ray or speak to them; all others run without it.
RAY_MODULES = {
    "actors.cluster.carriers",
    "actors.cluster.deploying",
    "actors.cluster.node",
    "actors.completion.actor",
    "actors.cluster.deployed",
    "actors.ledger.actor",
    "actors.loadtest.actor",
    "actors.cluster.calls",
    "actors.ledger.client",
    "actors.cluster.directory",
    "actors.cluster.joining",
    "actors.registry.actor",
    "actors.simulator.actor",
    "serve_app.deployment",
    "serve_app.instance.stack",
}

# What nobody in core may use: it cannot wait, does not know the time, and draws nothing.
CORE_STDLIB_BANNED = {
    "asyncio",
    "concurrent",
    "datetime",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "sys",
    "threading",
    "time",
    "urllib",
    "uuid",
}
CORE_CALLS_BANNED = {"open", "print", "input", "exec", "eval", "__import__"}

DIALECT_IMPORTS = (
    "actors.core",
    # Values alone: what a record holds, who asks.
    "actors.ports.ledger",
    "actors.core.record",
    "actors.ports.runtime",
    "serve_app.dialects",
    "serve_app.http.errors",
)


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def in_package(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports(path: Path, *, when_imported: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports, anywhere in it, or only those that come along with it."""
    tree = parse(path)
    skipped = set(_imported_late_or_never(tree)) if when_imported else set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def _imported_late_or_never(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is inside a function, or for the type checker alone."""
    for node in ast.walk(tree):
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from ast.walk(node)


def room_of(module: str) -> str:
    """Return the folder of the house that a module is in; one that is in none is a room of its own."""
    return ".".join(module.split(".")[:2])


def for_each(files: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[str], None]]:
    """Hold a rule for every file: one test per room, which ends at the first file that breaks it."""
    rooms: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        rooms[room_of(module_name(path))].append(path)

    def decorate(rule: Callable[[Path], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("room", sorted(rooms))
        def test(room: str) -> None:
            for path in rooms[room]:
                rule(path)

        test.__doc__ = rule.__doc__
        return test

    return decorate


CORE_FILES = [path for path in FILES if in_package(module_name(path), "actors.core")]
DIALECT_FILES = [path for path in FILES if in_package(module_name(path), "serve_app.dialects")]


@for_each(CORE_FILES)
def test_core_imports_only_itself_and_what_cannot_wait(path: Path) -> None:
    for name in imports(path):
        if in_package(name, "actors.core") or in_package(
            name, "msgspec"
        ):  # It reads and writes wires.
            continue
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names, f"{name} is not of the standard library"
        assert top not in CORE_STDLIB_BANNED, f"{name} waits, or knows what must be an argument"


@for_each(CORE_FILES)
def test_core_waits_for_nothing_and_touches_nothing(path: Path) -> None:
    for node in ast.walk(parse(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in CORE_CALLS_BANNED, ast.unparse(node)


@for_each(FILES)
def test_layers_import_downwards(path: Path) -> None:
    module = module_name(path)
    for name in imports(path):
        if in_package(module, "actors"):
            assert not in_package(name, "serve_app"), f"{module} -> {name}"
        if in_package(name, "ray"):
            assert module in RAY_MODULES, f"{module} imports Ray"
        if in_package(module, "serve_app") and name in RAY_MODULES:
            # Starting and stopping import the deployment late: when Ray's variables are set.
            is_late = module in ("serve_app.instance.instance", "serve_app.instance.stop")
            is_late = is_late and in_package(name, "serve_app")
            assert is_late or module in RAY_MODULES, f"{module} -> {name}"
        assert not in_package(name, "tests"), f"{module} -> {name}"


@for_each(DIALECT_FILES)
def test_a_dialect_knows_core_and_dialects(path: Path) -> None:
    for name in imports(path):
        if name.split(".")[0] in ("actors", "serve_app"):
            assert any(in_package(name, known) for known in DIALECT_IMPORTS), name
        assert name.split(".")[0] not in ("starlette", "httpx", "asyncio", "ray"), name


# What every room may know besides itself, and what some know more. The list only becomes shorter.
ALL_MAY_KNOW = ("actors.core", "actors.ports", "actors.rpc", "actors.settings")
RAY_SIDE = ("actors.cluster", "actors.ledger.client", "actors.registry.client")
MAY_ALSO_KNOW: dict[str, tuple[str, ...]] = {
    # It makes the actors of every room, and joins a replica to them.
    "actors.cluster": ("actors",),
    "actors.testing": ("actors",),
    # An actor's file puts its room together: clients of the others, what Ray gives.
    "actors.completion.actor": (*RAY_SIDE, "actors.upstream"),
    "actors.ledger.actor": RAY_SIDE,
    "actors.ledger.client": RAY_SIDE,
    "actors.loadtest.actor": RAY_SIDE,
    "actors.registry.actor": RAY_SIDE,
    "actors.registry.client": RAY_SIDE,
    "actors.simulator.actor": RAY_SIDE,
    # The simulator is a provider: its models are in the catalogue, it counts as the catalogue says.
    "actors.loadtest": ("actors.simulator", "actors.upstream.tokenizer"),
    "actors.simulator": ("actors.upstream.tokenizer",),
    "actors.upstream": ("actors.simulator.models",),
    # HTTP: prices and limits of a model, and what counts tokens.
    "serve_app.http": ("serve_app", "actors.upstream.catalogue"),
    "serve_app.endpoints": ("serve_app", "actors.upstream.catalogue", "actors.upstream.tokenizer"),
    "serve_app.dialects": ("serve_app.http.errors",),
    "serve_app.openapi": ("serve_app",),
    "serve_app.cli": ("serve_app.instance", "actors.loadtest", "actors.upstream.config"),
    # Which looks at the store before there is a ledger, and puts a backup in its place.
    "serve_app.instance": ("serve_app", "actors.cluster", "actors.upstream", "actors.ledger.store"),
    "serve_app.deployment": ("serve_app", "actors.cluster", "actors.upstream.config"),
}


@for_each(FILES)
def test_a_room_knows_core_ports_and_calls(path: Path) -> None:
    module = module_name(path)
    room = room_of(module)
    known = [room, *ALL_MAY_KNOW]
    for who in (room, module):
        known += MAY_ALSO_KNOW.get(who, ())
    for name in imports(path):
        if name.split(".")[0] in ("actors", "serve_app"):
            assert any(in_package(name, one) for one in known), f"{module} -> {name}"


@pytest.mark.parametrize("room", ["core", "ports", "rpc"])
def test_what_all_may_know_knows_less(room: str) -> None:
    below = {"core": (), "ports": ("actors.core",), "rpc": ("actors.core", "actors.ports")}[room]
    for module, path in MODULES.items():
        if in_package(module, f"actors.{room}"):
            for name in imports(path):
                known = (f"actors.{room}", *below)
                ours = name.split(".")[0] in ("actors", "serve_app")
                assert not ours or any(in_package(name, one) for one in known), (
                    f"{module} -> {name}"
                )


def test_a_class_name_is_one_class() -> None:
    where: dict[str, list[str]] = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(module)
    twice = {name: found for name, found in where.items() if len(found) > 1}
    assert not twice, twice


def test_nothing_but_the_ray_modules_needs_ray() -> None:
    """A module that imports one of them cannot be used without Ray either."""
    for path in FILES:
        if module_name(path) in RAY_MODULES:
            continue
        reached = RAY_MODULES & set(imports(path, when_imported=True))
        assert not reached, f"{module_name(path)} -> {reached}"


def test_there_are_no_cycles() -> None:
    graph = {
        module: {name for name in imports(path, when_imported=True) if name in MODULES}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*way, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("package", ["actors", "serve_app"])
def test_importing_a_room_leaves_ray_alone(package: str) -> None:
    modules = sorted(
        module for module in MODULES if in_package(module, package) and module not in RAY_MODULES
    )
    modules = [module for module in modules if not module.endswith("__main__")]
    program = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    assert "ray" not in sys.modules, module
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_the_command_line_answers_without_ray() -> None:
    program = "import sys, serve_app.cli.main; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@for_each(FILES)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text("utf-8")
    limit = CORE_LINES_MAX if path in CORE_FILES else SHELL_LINES_MAX
    assert len(text.splitlines()) <= limit
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@for_each(FILES)
def test_every_module_says_what_it_is_and_what_it_offers(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text("utf-8").strip():
        return
    tree = parse(path)
    assert ast.get_docstring(tree), "a module says what it owns"
    exported = _exported(tree)
    if path.name == "__init__.py" and not list(_defined(tree)):
        return
    assert exported is not None, "a module says what it offers in __all__"
    assert len(exported) == len(set(exported))
    defined = set(_defined(tree))
    assert set(exported) <= defined, f"{set(exported) - defined} is not there"


@functools.cache
def _offered() -> dict[str, list[str] | None]:
    return {module_name(file): _exported(parse(file)) for file in FILES}


def _exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            value = ast.literal_eval(node.value)
            assert all(isinstance(name, str) for name in value)
            return list(value)
    return None


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign():
                yield from (ast.unparse(target) for target in node.targets)
            case ast.AnnAssign():
                yield ast.unparse(node.target)
            case ast.ImportFrom() | ast.Import():
                yield from (alias.asname or alias.name for alias in node.names)


@for_each(FILES)
def test_what_is_imported_from_us_is_offered(path: Path) -> None:
    """Nobody reaches past `__all__`, or for a name with an underscore."""
    offered = _offered()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ImportFrom) and offered.get(node.module or ""):
            for alias in node.names:
                is_module = f"{node.module}.{alias.name}" in offered
                assert is_module or alias.name in (offered[node.module or ""] or ()), (
                    f"{node.module}.{alias.name} is not offered"
                )


BANNED_CALLS = {
    # The environment is read once, into Settings; a provider's key is named by the configuration.
    "os.environ.get": {"actors.cluster.node", "actors.completion.actor"},
    "os.getenv": set[str](),
    # Wall time is for the wire and the ledger; timeouts are measured by the monotonic clock.
    "datetime.now": set[str](),
    "uuid.uuid4": set[str](),
    "random.random": set[str](),
}


@for_each(FILES)
def test_banned_calls(path: Path) -> None:
    module = module_name(path)
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in BANNED_CALLS:
                assert module in BANNED_CALLS[called], f"{module} calls {called}"


ERRORS: list[CompletionRuntimeError] = [
    InvalidRequest("n must be 1.", param="n", reason="value_out_of_range"),
    UnknownModel("nothing"),
    UnknownProvider("nobody"),
    Unauthenticated("The key is unknown.", reason="invalid"),
    RequestTooLarge(bytes_max=10),
    CompletionIdInUse("hello"),
    InsufficientCredit(needed_microcredits=2, available_microcredits=1),
    RateLimited(scope="requests", retry_after_s=1.5),
    Overloaded("No slot.", retry_after_s=2.0),
    UpstreamError(Failure(FailureCode.UPSTREAM_TIMEOUT, "It was silent.", 504, 3.0)),
    IllegalTransition("a delta after the end"),
    MethodNotAllowed(allowed=("GET",)),
    RequestTimedOut(timeout_s=30.0),
    UnsupportedCoding(known=("gzip",)),
    UnsupportedVersion(header="Aurous-Version", known="2026-05-15"),
]


def error_classes() -> set[type[CompletionRuntimeError]]:
    for path in FILES:
        if module_name(path) not in RAY_MODULES | {"serve_app.instance.instance"}:
            importlib.import_module(module_name(path))
    found: set[type[CompletionRuntimeError]] = set()
    open_classes: list[type[CompletionRuntimeError]] = [CompletionRuntimeError]
    while open_classes:
        kind = open_classes.pop()
        found.add(kind)
        open_classes.extend(kind.__subclasses__())
    return {kind for kind in found if kind.__module__.startswith(("actors.", "serve_app."))}


def test_every_error_survives_pickling() -> None:
    made = {type(error): error for error in ERRORS}
    for kind in error_classes():
        error = made.get(kind)
        if error is None:
            # Those not made above take a message, or nothing.
            takes_nothing = kind.__init__.__code__.co_argcount == 1
            error = kind() if takes_nothing else kind("A sentence.")  # type: ignore[call-arg]
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is kind
        assert copy.args == error.args
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)
