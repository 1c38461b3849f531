"""What tokens cost: exact decimals on the way in, integers wherever anything is reckoned."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

__all__ = ["PICOCREDITS", "Price", "Prices", "whole_price"]

Price = int | Decimal
"""Micro-credits per token, which is credits per million tokens; exact to six decimals."""

PICOCREDITS = 1_000_000
"""Of one micro-credit: what prices are in wherever something is reckoned, since that is whole."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a token costs; fixed when the hold is placed.

    A kind of input that has no price of its own costs what other input does. Sums are of picocredits
    and integers; what they come to in micro-credits is rounded up once, by whoever has the whole sum.
    """

    input_microcredits: Price
    output_microcredits: Price
    version: int = 1
    cache_read_microcredits: Price | None = None
    cache_write_5m_microcredits: Price | None = None
    cache_write_1h_microcredits: Price | None = None

    @property
    def input_picocredits(self) -> int:
        return _picocredits(self.input_microcredits)

    @property
    def output_picocredits(self) -> int:
        return _picocredits(self.output_microcredits)

    @property
    def cache_read_picocredits(self) -> int:
        return self._of_input(self.cache_read_microcredits)

    @property
    def cache_write_5m_picocredits(self) -> int:
        return self._of_input(self.cache_write_5m_microcredits)

    @property
    def cache_write_1h_picocredits(self) -> int:
        return self._of_input(self.cache_write_1h_microcredits)

    def _of_input(self, price: Price | None) -> int:
        return _picocredits(self.input_microcredits if price is None else price)


def whole_price(price: Decimal) -> Price:
    """Return the price as an integer where it is one."""
    return int(price) if price == int(price) else price


def _picocredits(price: Price) -> int:
    return int(price * PICOCREDITS)
