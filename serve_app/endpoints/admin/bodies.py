"""The bodies that the operator's routes take: pydantic models, strictly typed, no member unknown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from actors.ports.ledger import LIMITS_UNCHANGED, LimitsChange, PolicyChange

__all__ = ["GrantBody", "KeyBody", "LimitsMember", "TeamBody"]

_CREDITS_MAX = 1_000_000_000.0
"""A billion credits: below it, a double has every micro-credit."""

Name = Annotated[
    str, Field(pattern=r"^[._-]*[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)
]
"""A part of a path: `.` and `..` would be taken for others, and names without a letter for those."""

Credits = Annotated[float, Field(ge=0, le=_CREDITS_MAX)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class LimitsMember(_Body):
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    completions_concurrent: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def change(self) -> LimitsChange:
        """Return what was said: a limit that is null is taken away, one that is absent stays."""
        return LimitsChange(**self.model_dump(include=self.model_fields_set))


class TeamBody(_Body):
    team: Name
    organization: Name
    credits: Credits = 0.0
    limits: LimitsMember | None = None
    store_content: Literal["full", "none"] | None = None
    native_passthrough: bool | None = None

    def change(self) -> LimitsChange:
        """Return what is said of the limits; null in their place takes all of them away."""
        if self.limits is None:
            return (
                LimitsChange(None, None) if "limits" in self.model_fields_set else LIMITS_UNCHANGED
            )
        return self.limits.change()

    def policy(self) -> PolicyChange:
        stores = None if self.store_content is None else self.store_content == "full"
        return PolicyChange(stores_content=stores, native_passthrough=self.native_passthrough)


class KeyBody(_Body):
    name: Annotated[str, Field(max_length=128)] = ""


class GrantBody(_Body):
    amount: Annotated[float, Field(gt=0, le=_CREDITS_MAX)]
