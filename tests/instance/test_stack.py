"""The order in which Ray, the actors, Serve and the application come and go, with each of them faked.

What they do for real, `tests/ray` shows.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.cluster.deploying import DeployError
from actors.cluster.node import ClusterError, NodeFacts, NodeTimedOut
from actors.settings import Settings
from actors.upstream.config import Config
from serve_app.instance.data_directory import InstanceError
from serve_app.instance.environment import NODE_VARIABLES, TOKEN_MODE, serve_environment
from serve_app.instance.start_limit import StartFailed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Serve's own, of pydantic's
    from serve_app.deployment import DeploymentError
    from serve_app.instance import stack as module
    from serve_app.instance.stack import Stack, remove_from

ADDRESS = "198.51.100.1:6379"


class World:
    """Every call that a stack makes, in order; `fails` says which of them raises what."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.nodes = ["n1"]
        self.facts: list[NodeFacts] = []

    def call(self, name: str, answer: object = None) -> Callable[..., object]:
        def called(*_arguments: object, **_options: object) -> object:
            self.calls.append(name)
            if name in self.fails:
                raise self.fails[name]
            return answer

        return called


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name in ("join", "leave", "start_private"):
        monkeypatch.setattr(module.cluster_node, name, made.call(name))
    monkeypatch.setattr(module.cluster_node, "own_versions", lambda: {"ray": "1"})
    monkeypatch.setattr(module.cluster_node, "alive_nodes", lambda: list(made.nodes))
    monkeypatch.setattr(module.cluster_node, "ask_nodes", lambda _names: made.facts)
    for name in (
        *("deploy_actors", "drain_actors", "remove_actors", "end_dead_controller"),
        *("forget_serve", "remove_application", "start_serve", "wait_until_running"),
    ):
        monkeypatch.setattr(module, name, made.call(name))
    monkeypatch.setattr(module, "deploy_application", made.call("deploy_application", 1))
    return made


def stack_of(*, address: str = "") -> Stack:
    return Stack(Settings(), address=address, is_verbose=False)


def brought_up(stack: Stack) -> None:
    stack.connect(Path("sessions"))
    stack.start_services(Config(), "digest", {}, timeout_s=5.0)
    stack.start_replicas(timeout_s=5.0)


def test_up_in_order_and_down_in_reverse(world: World) -> None:
    stack = stack_of()
    brought_up(stack)
    assert world.calls[0] == "start_private"
    assert sorted(world.calls[1:3]) == ["deploy_actors", "start_serve"]  # beside each other
    assert world.calls[3:] == ["deploy_application", "wait_until_running"]
    world.calls.clear()
    stack.stop(is_hurried=lambda: False)
    assert world.calls == [
        *("drain_actors", "remove_application", "remove_actors", "forget_serve", "leave")
    ]
    assert not stack.is_connected


def test_a_start_that_was_broken_off_is_taken_down_only_in_anothers_ray(world: World) -> None:
    world.fails["deploy_actors"] = DeployError("The ledger is away.")
    world.facts = [NodeFacts("n1", {"ray": "1"}, good_variables())]
    for address, ends in (("", ["forget_serve", "leave"]), (ADDRESS, None)):
        stack = stack_of(address=address)
        stack.connect(Path("sessions"))
        with pytest.raises(InstanceError, match="The ledger is away"):
            stack.start_services(Config(), "digest", {}, timeout_s=5.0)
        world.calls.clear()
        stack.stop(is_hurried=lambda: False)
        taken_down = ["drain_actors", "remove_application", "remove_actors"]
        assert world.calls == (ends or [*taken_down, "forget_serve", "leave"])


def test_nothing_is_stopped_that_was_not_begun(world: World) -> None:
    stack_of().stop(is_hurried=lambda: False)
    assert world.calls == []


def test_what_may_pass_is_told_apart(world: World) -> None:
    world.fails["start_private"] = NodeTimedOut("The node was slow.")
    with pytest.raises(StartFailed, match="The node was slow"):
        stack_of().connect(Path("sessions"))
    world.fails["start_private"] = ClusterError("There is no node.")
    with pytest.raises(InstanceError, match="There is no node") as raised:
        stack_of().connect(Path("sessions"))
    assert not isinstance(raised.value, StartFailed)


def test_a_serve_that_fails_is_told_by_its_own_error(world: World) -> None:
    world.fails["start_serve"] = DeploymentError("Serve listens elsewhere.")
    stack = stack_of()
    stack.connect(Path("sessions"))
    with pytest.raises(DeploymentError, match="elsewhere"):
        stack.start_services(Config(), "digest", {}, timeout_s=5.0)


def test_a_controller_that_does_not_answer_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(module, "start_serve", lambda _settings: answers.wait(60))
    stack = stack_of()
    stack.connect(Path("sessions"))
    with pytest.raises(StartFailed, match="does not answer"):
        stack.start_services(Config(), "digest", {}, timeout_s=0.01)
    answers.set()
    world.calls.clear()
    stack.end_dead_controller()
    stack.disconnect()
    assert world.calls == ["end_dead_controller", "forget_serve", "leave"]
    assert not stack.is_connected


def test_replicas_follow_the_nodes(world: World) -> None:
    stack = stack_of()
    brought_up(stack)
    world.calls.clear()
    stack.follow_nodes()
    assert world.calls == []
    world.nodes.append("n2")
    stack.follow_nodes()
    assert world.calls == ["deploy_application"]


def good_variables() -> dict[str, str]:
    mode, token = TOKEN_MODE
    own = dict.fromkeys(NODE_VARIABLES, "set")
    return {**own, **serve_environment(Settings()), mode: token}


def test_a_cluster_whose_nodes_differ_is_not_joined(world: World) -> None:
    good = good_variables()
    world.facts = [NodeFacts("n1", {"ray": "1"}, good)]
    stack_of(address=ADDRESS).connect(Path("sessions"))
    assert world.calls == ["join"]
    without_token = {name: value for name, value in good.items() if name != TOKEN_MODE[0]}
    for versions, variables, says in (
        ({"ray": "1"}, without_token, "runs without Ray's token"),
        ({"ray": "2"}, good, "ray is 2 where 1 is needed"),
        ({}, {TOKEN_MODE[0]: TOKEN_MODE[1]}, "more"),
    ):
        world.facts = [NodeFacts("n1", versions, variables)]
        with pytest.raises(InstanceError, match=says):
            stack_of(address=ADDRESS).connect(Path("sessions"))


def test_what_a_killed_instance_left_on_a_cluster_is_removed(world: World) -> None:
    world.fails["remove_application"] = RuntimeError("away")
    with pytest.raises(RuntimeError):
        remove_from(ADDRESS, drain_timeout_s=1.0)
    assert world.calls == ["join", "drain_actors", "remove_application", "leave"]
    world.calls.clear()
    world.fails["join"] = ClusterError("No cluster there.")
    with pytest.raises(InstanceError, match="No cluster there"):
        remove_from(ADDRESS, drain_timeout_s=1.0)
    assert world.calls == ["join"]
