"""The ULID's shape, against a bit-by-bit reference; and which names a client may choose."""

import pytest

from actors.core.ids import format_ulid, is_client_name, ulid_bits

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def reference(bits: int) -> str:
    digits = []
    for _ in range(26):
        bits, digit = divmod(bits, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


@pytest.mark.parametrize(
    ("time_ms", "randomness"),
    [(0, 0), (1, 1), (2**48 - 1, 2**80 - 1), (1_764_000_000_123, 0xDEADBEEF << 40), (1, 2**79)],
)
def test_a_ulid_is_its_128_bits_in_base_32(time_ms: int, randomness: int) -> None:
    bits = time_ms << 80 | randomness
    assert format_ulid(time_ms, randomness) == reference(bits)
    assert ulid_bits(reference(bits)) == bits


def test_the_example_of_the_specification_has_its_time_first() -> None:
    # 01ARYZ6S41 is the specification's own time part, of 1469918176385.
    assert format_ulid(1469918176385, 0).startswith("01ARYZ6S41")


def test_ids_sort_by_time() -> None:
    ids = [format_ulid(time_ms, 2**80 - 1 - time_ms) for time_ms in range(0, 5000, 7)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(("time_ms", "randomness"), [(-1, 0), (0, -1), (2**48, 0), (0, 2**80)])
def test_more_bits_than_there_are_is_an_error(time_ms: int, randomness: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        format_ulid(time_ms, randomness)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", True),
        ("job-7_of.9", True),
        ("x" * 128, True),
        ("", False),
        ("x" * 129, False),
        ("a b", False),
        ("a/b", False),
        ("é", False),
        ("a\n", False),
    ],
)
def test_which_names_a_client_may_choose(text: str, expected: bool) -> None:
    assert is_client_name(text) is expected
