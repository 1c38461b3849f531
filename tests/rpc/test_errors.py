"""Every error of `actors.core.errors` crosses as itself, and nothing else can be made of what is read."""

from __future__ import annotations

import msgspec
import pytest

from actors.core import errors
from actors.core.errors import CompletionRuntimeError, Failure, FailureCode
from actors.rpc.codec import decoder, encode, error_from, error_row
from actors.rpc.messages import read_error

MADE: list[CompletionRuntimeError] = [
    errors.InvalidRequest("n must be 1.", param="n", reason="value_out_of_range"),
    errors.UnknownModel("nothing"),
    errors.UnknownProvider("nobody"),
    errors.Unauthenticated("The key is unknown.", reason="invalid"),
    errors.RequestTooLarge(bytes_max=10),
    errors.CompletionIdInUse("hello"),
    errors.InsufficientCredit(needed_microcredits=2, available_microcredits=1),
    errors.RateLimited(scope="requests", retry_after_s=1.5),
    errors.Overloaded("No slot.", retry_after_s=2.0),
    errors.UpstreamError(Failure(FailureCode.UPSTREAM_TIMEOUT, "It was silent.", 504, 3.0)),
    errors.CompletionNotFound(),
]
KINDS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, CompletionRuntimeError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_it_was(kind: type[CompletionRuntimeError]) -> None:
    error = next((made for made in MADE if type(made) is kind), None) or kind("A sentence.")
    again = error_from(read_error(encode(error_row(error))))
    assert type(again) is kind
    assert again.args == error.args
    assert vars(again) == vars(error)


def test_one_that_is_not_ours_crosses_as_its_base() -> None:
    class Foreign(errors.Overloaded):
        pass

    assert type(error_from(error_row(Foreign("x")))) is errors.Overloaded


@pytest.mark.parametrize("name", ["SystemExit", "Foreign", ""])
def test_no_other_class_is_made(name: str) -> None:
    with pytest.raises(KeyError):
        error_from((name, "x", {}))


def test_strange_extensions_are_no_values() -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(7, b"x"))
    with pytest.raises(ValueError, match="extension"):
        decoder(object).decode(data)
