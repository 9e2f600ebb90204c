"""What makes a configuration unusable that no single field can know."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from services.shared.domain.configuration import (
    Configuration,
    Limits,
    Model,
    ModelTarget,
    PriceOverride,
    Provider,
    VirtualKey,
)
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.keys import is_key_id
from services.shared.domain.name_patterns import WILDCARD, is_pattern, matches_any

ConfigPath = tuple[str | int, ...]

_ENVIRONMENT_NAME = re.compile(r"(env:)?[A-Za-z_][A-Za-z0-9_]{0,127}")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[!-~]{1,256}")
_URL = re.compile(
    r"https?://(?P<secret>[^/@?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(:(?P<port>[0-9]{1,5}))?(/[^?#\s]*)?"
)
_PROVIDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to correct.

    Attributes:
        path: Where: keys and list positions from the root of the file.
        problem: What is wrong, without repeating a secret.
        remedy: What to do; empty when the problem says it.
    """

    path: ConfigPath
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        """Place, problem and remedy in one line."""
        end = f"; {self.remedy}" if self.remedy else ""
        return f"{path_text(self.path)}: {self.problem}{end}"


def path_text(path: ConfigPath) -> str:
    """A path for people, e.g. ``models.fast.targets[0].provider``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the file"


def mistakes_in(configuration: Configuration) -> list[Mistake]:
    """Every mistake in a configuration, in the order of the file's sections."""
    return [
        *_provider_mistakes(configuration.providers),
        *_model_mistakes(configuration),
        *_key_mistakes(configuration),
        *_limit_mistakes(configuration.limits),
        *_price_mistakes(configuration),
    ]


def _provider_mistakes(providers: Mapping[str, Provider]) -> Iterator[Mistake]:
    if not providers:
        yield Mistake(path=("providers",), problem="none is declared", remedy="add at least one")
    for name, provider in providers.items():
        path = ("providers", name)
        if not _PROVIDER_NAME.fullmatch(name):
            yield Mistake(
                path=path,
                problem="is no name for a provider",
                remedy="use letters, digits, '.', '_' and '-', at most 64",
            )
        yield from _url_mistakes((*path, "base_url"), provider.base_url)
        yield from _endpoint_mistakes((*path, "endpoints"), provider)
        if provider.proxy:
            yield from _url_mistakes((*path, "proxy"), provider.proxy)
        yield from _key_variable_mistakes(path, provider)


def _endpoint_mistakes(path: ConfigPath, provider: Provider) -> Iterator[Mistake]:
    seen = {provider.base_url.rstrip("/")}
    for position, url in enumerate(provider.endpoints):
        yield from _url_mistakes((*path, position), url)
        if url.rstrip("/") in seen:
            yield Mistake(path=(*path, position), problem="is there twice", remedy="remove one")
        seen.add(url.rstrip("/"))


def _url_mistakes(path: ConfigPath, url: str) -> Iterator[Mistake]:
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or 1) < 65_536:
        yield Mistake(path=path, problem="is no URL", remedy="write http(s)://host[:port]/path")
    elif match["secret"]:
        yield Mistake(
            path=path,
            problem="holds a user name or password",
            remedy="keep secrets in the environment: api_key_env for keys, HTTPS_PROXY for proxies",
        )


def _key_variable_mistakes(path: ConfigPath, provider: Provider) -> Iterator[Mistake]:
    variables = provider.api_key_env
    for position, name in enumerate((variables,) if isinstance(variables, str) else variables):
        if not _ENVIRONMENT_NAME.fullmatch(name):
            place = () if isinstance(variables, str) else (position,)
            yield Mistake(
                path=(*path, "api_key_env", *place),
                problem="is not the name of an environment variable",
                remedy="put the key into a variable and its name, e.g. OPENAI_API_KEY, here",
            )


def _model_mistakes(configuration: Configuration) -> Iterator[Mistake]:
    if not configuration.models:
        yield Mistake(path=("models",), problem="none is declared", remedy="add at least one alias")
    for alias, model in configuration.models.items():
        path = ("models", alias)
        if not is_model_name(alias):
            yield Mistake(
                path=path,
                problem="is no name for a model",
                remedy="use 1 to 256 visible ASCII characters, with '*' only at the end",
            )
        if not model.targets:
            yield Mistake(path=(*path, "targets"), problem="is empty", remedy="add a target")
        elif model.strategy is Strategy.WEIGHTED and not any(t.weight for t in model.targets):
            yield Mistake(
                path=(*path, "targets"),
                problem="every weight is 0",
                remedy="give at least one target a weight above 0",
            )
        yield from _target_mistakes(path, alias, model, configuration.providers)


def _target_mistakes(
    path: ConfigPath, alias: str, model: Model, providers: Mapping[str, Provider]
) -> Iterator[Mistake]:
    seen: set[tuple[str, str]] = set()
    for position, target in enumerate(model.targets):
        place = (*path, "targets", position)
        if target.provider not in providers:
            yield unknown_name((*place, "provider"), target.provider, providers, "a provider")
        yield from _target_model_mistakes((*place, "model"), alias, target)
        if target.price is not None:
            yield from _amount_mistakes((*place, "price"), target.price)
        identity = (target.provider, target.model or alias)
        if identity in seen:
            yield Mistake(path=place, problem="is there twice", remedy="remove one")
        seen.add(identity)


def _target_model_mistakes(path: ConfigPath, alias: str, target: ModelTarget) -> Iterator[Mistake]:
    if target.model and not _is_printable(target.model):
        yield Mistake(
            path=path, problem="is no name for a model", remedy="use 1 to 256 visible characters"
        )
    if target.model.count(WILDCARD) > int(is_pattern(alias)):
        yield Mistake(
            path=path,
            problem="holds a '*' that stands for nothing",
            remedy="it may repeat, once, what the '*' at the end of the alias matched",
        )


def _key_mistakes(configuration: Configuration) -> Iterator[Mistake]:
    ids: set[str] = set()
    for position, key in enumerate(configuration.keys):
        path = ("keys", position)
        if key.id in ids:
            yield Mistake(
                path=(*path, "id"), problem=f"'{key.id}' is there twice", remedy="remove one"
            )
        ids.add(key.id)
        yield from _one_key_mistakes(path, key)
        yield from _allowed_mistakes((*path, "models"), key.models, configuration.models)
    producers = configuration.kafka_producers
    if producers.enabled and not producers.tenant:
        yield Mistake(path=("kafka_producers", "tenant"), problem="is empty", remedy="name one")
    yield from _allowed_mistakes(
        ("kafka_producers", "models"), producers.models, configuration.models
    )


def _one_key_mistakes(path: ConfigPath, key: VirtualKey) -> Iterator[Mistake]:
    if not is_key_id(key.id):
        yield Mistake(
            path=(*path, "id"),
            problem="is no id for a key",
            remedy="use 1 to 64 letters, digits and '-'",
        )
    if not key.tenant:
        yield Mistake(path=(*path, "tenant"), problem="is empty", remedy="name one")
    if not _SHA256_HEX.fullmatch(key.hash):
        yield Mistake(
            path=(*path, "hash"),
            problem="is no SHA-256",
            remedy="write the 64 lower-case hex digits of the key's hash, never the key",
        )


def _allowed_mistakes(
    path: ConfigPath, allowed: Iterable[str], models: Mapping[str, Model]
) -> Iterator[Mistake]:
    for position, pattern in enumerate(allowed):
        known = matches_any(pattern, models) or (
            is_pattern(pattern) and any(alias.startswith(pattern[:-1]) for alias in models)
        )
        if not known:
            yield unknown_name((*path, position), pattern, models, "a model")


def _limit_mistakes(limits: Limits) -> Iterator[Mistake]:
    if limits.request_timeout_s > limits.max_deadline_s:
        yield Mistake(
            path=("limits", "request_timeout_s"),
            problem="is longer than max_deadline_s",
            remedy="lower it or raise max_deadline_s",
        )


def _price_mistakes(configuration: Configuration) -> Iterator[Mistake]:
    for name, price in configuration.prices.items():
        path = ("prices", name)
        provider, slash, model = name.partition("/")
        if not slash or not is_model_name(model):
            yield Mistake(
                path=path,
                problem="is no price of a model",
                remedy="write provider/model, with '*' only at the end",
            )
        elif provider not in configuration.providers:
            yield unknown_name(path, provider, configuration.providers, "a provider")
        yield from _amount_mistakes(path, price)


def _amount_mistakes(path: ConfigPath, price: PriceOverride) -> Iterator[Mistake]:
    for field in price.__struct_fields__:
        amount = getattr(price, field)
        if amount is not None and not (amount.is_finite() and 0 <= amount <= 1_000_000):
            yield Mistake(
                path=(*path, field),
                problem="is no price",
                remedy="write USD for a million tokens, 0 to 1,000,000",
            )


def unknown_name(path: ConfigPath, name: str, known: Iterable[str], kind: str) -> Mistake:
    """The mistake of naming what does not exist, with the nearest that does."""
    return Mistake(path=path, problem=f"'{name[:64]}' is not {kind}", remedy=nearest(name, known))


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy: the most similar known name, or all of them where they are few."""
    import difflib  # noqa: PLC0415  (3 ms that only a mistake should cost)

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}" if names else ""


def _is_printable(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def is_model_name(name: str) -> bool:
    """Whether a text may be a model's name or, with a final ``*``, a pattern of such."""
    return _is_printable(name) and WILDCARD not in name[:-1]
