"""The catalogue: which models are sold, at what price, through which provider; and admission.

Owns: the table of models (the simulator's and the configuration's, merged once), and the step from
a client's request to a `StartCommand`: limits checked, prompt estimated, hold computed. It must not
know dialects' words, HTTP, or what a provider's wire looks like.

Rules:
1. The simulator's models, aliases and provider are built in where the configuration names no
   provider, or says `simulator: true`. An entry of the configuration with a built-in's name replaces it.
2. An alias is sold under its own name and asked for under its target's; it names a model, never
   another alias.
3. What is held, and how long things may take, stands in `actors.upstream.terms`.
4. What of a request goes on to its provider, and is refused or left out, is `provider_request`'s.
5. A built-in model can be had through each wire format that the simulator speaks: `sim@messages`,
   `sim@responses` and `sim@background` are `sim`, asked for in those words. They are not listed;
   a model of the configuration with that very name comes first.

The simulator's models may answer with up to 65,536 tokens: `sim-long` speaks 50 tokens/s and has to
be able to outlast any timeout.

Source: contracts of the chat dialect, sections 6 and 8, read 2026-11-22.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pydantic import HttpUrl

from actors.core.errors import InvalidRequest, UnknownModel
from actors.core.request import (
    CompletionRequest,
    Dialect,
    IdempotencyKey,
    Prices,
    Retention,
    StartCommand,
)
from actors.core.wire.recipient import Recipient
from actors.ports.ledger import Principal
from actors.settings import Settings
from actors.simulator.models import (
    ALIASES,
    CONTEXT_WINDOW,
    LONG_TOKENS_DEFAULT,
    MODELS,
    OUTPUT_TOKENS_MAX,
    SimulatedModel,
)
from actors.upstream.config import Config, ConfigError, ModelConfig, ProviderConfig, ProviderKind
from actors.upstream.request import provider_request
from actors.upstream.terms import Terms, demanded_limit, output_limit, prices_of
from actors.upstream.tokenizer import count_request
from actors.upstream.wire_formats import WIRE_FORMATS, WireFormat, carries_body, recipient_of

__all__ = [
    "SIMULATOR",
    "Catalogue",
    "CatalogueModel",
]

SIMULATOR = "simulator"
"""The name of the built-in provider."""

_WIRES = {
    "messages": ProviderKind.ANTHROPIC_MESSAGES,
    "responses": ProviderKind.OPENAI_RESPONSES,
    "background": ProviderKind.OPENAI_RESPONSES,
}
"""What may follow a built-in model's name and an `@`, and the provider is called after."""

_BUILT_IN_KINDS = {SIMULATOR: ProviderKind.OPENAI_CHAT} | {
    f"{SIMULATOR}-{wire}": kind for wire, kind in _WIRES.items()
}

PRICES = Prices(input_microcredits=75, output_microcredits=450)


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model as it is sold under `slug`; `alias_of` is the slug that an alias stands for.

    `has_context_window` says whether the operator gave one: the default is shown, and refuses nothing.
    """

    slug: str
    provider: str
    upstream_model: str
    prices: Prices
    context_window: int
    max_output_tokens_hard_cap: int | None
    default_max_output_tokens: int | None
    capabilities: tuple[str, ...]
    tokenizer_is_exact: bool
    alias_of: str | None = None
    has_context_window: bool = True
    terms: Terms = field(default_factory=Terms)


class Catalogue:
    """Everything that may be asked for; fixed when made.

    Args:
        config: the operator's file; see the module's first rule for how it is merged.
        simulator_url: `http://HOST:PORT` of the simulator, None where it is not known here: its
            models can then be looked up and admitted, but its provider cannot be asked for.

    Raises: ConfigError: an entry that cannot be used; the message names it.
    """

    def __init__(self, config: Config, *, simulator_url: str | None) -> None:
        self._providers = _providers(config, simulator_url)
        self._kinds = _BUILT_IN_KINDS | {
            name: provider.kind for name, provider in config.providers.items()
        }
        self._models = _models(config)

    def lookup(self, slug: str) -> CatalogueModel:
        """Return the model of that name or alias.

        Raises: UnknownModel: there is none.
        """
        if slug in self._models:  # Its own name may have an `@`.
            return self._models[slug]
        name, _, wire = slug.rpartition("@")
        model = self._models.get(name)
        if model is None or model.provider != SIMULATOR or wire not in _WIRES:
            raise UnknownModel(slug)
        return replace(model, slug=slug, provider=f"{SIMULATOR}-{wire}")

    def models(self) -> list[CatalogueModel]:
        """Return every model, aliases included, sorted by name. May be empty."""
        return list(self._models.values())

    def provider(self, name: str) -> ProviderConfig:
        """Return how to reach a provider.

        Raises: ConfigError: no such provider, or the simulator's address is not known here.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise ConfigError(f"No provider {name!r} can be reached from here.")
        return provider

    def pass_through(self, provider: str) -> tuple[str, ...]:
        """Return the members and types of tools that may go on to a provider."""
        config = self._providers.get(provider)
        return () if config is None else config.pass_through

    def resolve(
        self,
        request: CompletionRequest,
        *,
        completion_id: str,
        wire_id: str,
        principal: Principal,
        dialect: Dialect,
        created_at_s: float,
        settings: Settings,
        idempotency: IdempotencyKey | None = None,
        counted: tuple[int, int] | None = None,
    ) -> StartCommand:
        """Admit a request: check it against its model, estimate the prompt, compute the hold.

        Args: counted: what `count_request` says of it, where that was asked elsewhere.

        Raises:
            UnknownModel: no such model or alias.
            InvalidRequest: beyond a limit of the model; `reason` says which, and nothing is held.
        """
        model = self.lookup(request.model)
        wire = WIRE_FORMATS[self._kinds[model.provider]]
        prompt_tokens, beyond_tokens = counted or count_request(
            request.messages, request.tools, tuple(text.text for text in request.body_only)
        )
        if carries_body(request, dialect, wire):
            prompt_tokens += beyond_tokens
        _check_window(model, prompt_tokens)
        sent = provider_request(
            request,
            dialect=dialect,
            model=model.slug,
            capabilities=model.capabilities,
            wire=wire,
            recipient=self._recipient(model.provider, request),
            is_strict=settings.strict_contracts,
        )
        output_tokens, adjusted = _limit(request, model, wire, dialect, settings)
        terms, timeouts = model.terms, model.terms.timeouts
        hold = terms.hold_for(model.prices, prompt_tokens, output_tokens, settings=settings)
        return StartCommand(
            completion_id=completion_id,
            wire_id=wire_id,
            team=principal.team,
            key_id=principal.key_id,
            dialect=dialect,
            request=sent.request,
            model=model.slug,
            provider=model.provider,
            upstream_model=model.upstream_model,
            prices=model.prices,
            prompt_tokens_estimated=prompt_tokens,
            tokenizer_is_exact=model.tokenizer_is_exact,
            max_output_tokens=output_tokens,
            hold_microcredits=hold.microcredits,
            created_at_s=created_at_s,
            total_timeout_s=timeouts.total_s or settings.total_timeout_s,
            idempotency=idempotency,
            retention=request.retention if principal.policy.stores_content else Retention.RECEIPT,
            ignored=sent.ignored,
            adjusted=adjusted,
            hold_step_tokens=hold.step_tokens,
            connect_timeout_s=timeouts.connect_s,
            first_token_timeout_s=timeouts.first_token_s,
            idle_timeout_s=timeouts.idle_s,
            charges_failed=terms.charges_failed,
            hidden_reasoning_tokens_per_1000_s=terms.hidden_reasoning_tokens_per_1000_s,
        )

    def _recipient(self, provider: str, request: CompletionRequest) -> Recipient:
        """Return what the request depends on of its provider; the simulator's address is no matter."""
        config = self._providers.get(provider) or ProviderConfig(
            kind=self._kinds[provider], base_url=_NOWHERE
        )
        return recipient_of(provider, config, request.headers)


def _check_window(model: CatalogueModel, prompt_tokens: int) -> None:
    """Raises: InvalidRequest: the prompt is longer than the context window that the operator gave."""
    if model.has_context_window and prompt_tokens > model.context_window:
        raise InvalidRequest(
            f"The prompt is about {prompt_tokens} tokens long; the context window of "
            f"{model.slug} is {model.context_window}.",
            param="messages",
            reason="max_input_tokens_exceeded",
        )


def _limit(
    request: CompletionRequest,
    model: CatalogueModel,
    wire: WireFormat,
    dialect: Dialect,
    settings: Settings,
) -> tuple[int | None, tuple[str, ...]]:
    """Return the output's limit, None where none is sent, and what is told of it."""
    limit, adjusted = output_limit(
        request.max_output_tokens,
        slug=model.slug,
        default=model.default_max_output_tokens,
        cap=model.max_output_tokens_hard_cap,
        dialect=dialect,
        is_strict=settings.strict_contracts,
    )
    is_given = request.max_output_tokens is not None or model.default_max_output_tokens is not None
    if wire.demands_limit and not is_given:
        return demanded_limit(limit, dialect)
    return limit, adjusted


_NOWHERE = HttpUrl("http://simulator.invalid/v1")


def _providers(config: Config, simulator_url: str | None) -> dict[str, ProviderConfig]:
    providers: dict[str, ProviderConfig] = {}
    if config.simulator and simulator_url is not None:
        url = HttpUrl(f"{simulator_url}/v1")
        for name, kind in _BUILT_IN_KINDS.items():
            is_background = name == f"{SIMULATOR}-background"
            providers[name] = ProviderConfig(
                kind=kind, base_url=url, native_background=is_background
            )
    for name, provider in config.providers.items():
        if provider.native_background and provider.kind is not ProviderKind.OPENAI_RESPONSES:
            raise ConfigError(
                f"providers.{name}.native_background: kind {provider.kind.value} has none."
            )
        providers[name] = provider
    return providers


def _models(config: Config) -> dict[str, CatalogueModel]:
    models = {slug: _simulated(model) for slug, model in MODELS.items() if config.simulator}
    models |= {
        slug: _configured(slug, model, config.providers[model.provider])
        for slug, model in config.models.items()
    }
    aliases = (ALIASES if config.simulator else {}) | config.aliases
    sold = dict(models)
    for alias, target in aliases.items():
        if alias in config.models:
            if alias in config.aliases:
                raise ConfigError(f"aliases.{alias}: a model has the same name.")
            continue  # the configuration's model replaces the built-in alias
        if target not in models:
            raise ConfigError(f"aliases.{alias} names no model: {target!r}.")
        sold[alias] = replace(models[target], slug=alias, alias_of=target)
    return dict(sorted(sold.items()))


def _simulated(model: SimulatedModel) -> CatalogueModel:
    return CatalogueModel(
        slug=model.slug,
        provider=SIMULATOR,
        upstream_model=model.slug,
        prices=PRICES,
        context_window=CONTEXT_WINDOW,
        max_output_tokens_hard_cap=OUTPUT_TOKENS_MAX,
        default_max_output_tokens=LONG_TOKENS_DEFAULT if model.tokens_said is None else None,
        capabilities=model.capabilities,
        tokenizer_is_exact=True,
    )


def _configured(slug: str, model: ModelConfig, provider: ProviderConfig) -> CatalogueModel:
    return CatalogueModel(
        slug=slug,
        provider=model.provider,
        upstream_model=model.upstream_model,
        prices=prices_of(model),
        context_window=model.context_window,
        max_output_tokens_hard_cap=model.max_output_tokens_hard_cap,
        default_max_output_tokens=model.default_max_output_tokens,
        capabilities=model.capabilities,
        tokenizer_is_exact=model.tokenizer_is_exact,
        has_context_window="context_window" in model.model_fields_set,
        terms=Terms.of(model, provider),
    )
