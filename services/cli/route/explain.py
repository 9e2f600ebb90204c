"""``millrace route explain``: where a request goes, and why, by the router's own decision."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.cluster import (
    BootstrapOption,
    bootstrap_of,
    configuration_of,
    running_stack,
)
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, Invocation, invocation_of
from services.cli.manner import JsonOption

if TYPE_CHECKING:
    from services.shared.domain.configuration import Configuration
    from services.shared.domain.events import InferenceRequested
    from services.shared.domain.routing.explain import Explanation
    from services.shared.domain.routing.observed import Observed

_FIELDS = {"chat": "messages", "text_completion": "prompt", "embeddings": "input"}


def explain(  # noqa: PLR0913  # the options of a command
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="File with a request's JSON body, '-' = standard input, or the id of "
            "a past request."
        ),
    ] = "-",
    *,
    text: Annotated[str, typer.Option(help="A user's message, instead of a file.")] = "",
    model: Annotated[str, typer.Option(help="Model alias, instead of the body's.")] = "",
    tier: Annotated[str, typer.Option(help="Service tier, instead of the key's.")] = "",
    key: Annotated[
        str, typer.Option(help="Id of the virtual key; default: one that may do everything.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(envvar="MILLRACE_CONFIG", help="Default: what the stack serves by."),
    ] = None,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show a request's score, gates, cuts, order of targets and expected costs.

    It is routed by the present configuration and, where a broker answers, by what the last five
    minutes of results say of targets and conversations. Tokens under way are known to the routers
    alone.
    """
    import msgspec  # noqa: PLC0415

    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.domain.ids import origin_from_request_id  # noqa: PLC0415

    invocation = invocation_of(context)
    configuration = configuration_of(invocation, config, data=data)
    now_ms = int(SystemClock().now_ms())
    brokers = _brokers(invocation, bootstrap=bootstrap, data=data)
    if not text and origin_from_request_id(what) is not None:
        request = past_request(
            bootstrap_of(invocation, bootstrap=bootstrap, data=data), what, invocation=invocation
        )
    else:
        body = body_of(text, what, model, folder=invocation)
        request = request_of(body, configuration, key=key, tier=tier, now_ms=now_ms)
    explanation = explanation_of(
        request, configuration, brokers=brokers, now_ms=now_ms, may_everything=not request.key_id
    )
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(explanation)).decode())
        return
    if not brokers:
        invocation.errors.print("No broker is named and no stack runs: nothing was observed.")
    show(explanation, invocation)


def body_of(text: str, what: str, model: str, *, folder: Invocation) -> dict[str, Any]:
    """The body of the request that is asked about.

    Raises:
        CommandError: There is none, or it is no JSON object.
    """
    import msgspec  # noqa: PLC0415

    from services.shared.domain.no_json import NO_JSON  # noqa: PLC0415

    if text:
        if not model:
            raise CommandError("--text needs --model.")
        return {"model": model, "messages": [{"role": "user", "content": text}]}
    try:
        content = sys.stdin.buffer.read() if what == "-" else folder.path(Path(what)).read_bytes()
        body = msgspec.json.decode(content, type=dict[str, Any])
    except OSError as error:
        hint = "; and it is no id of a request" if isinstance(error, FileNotFoundError) else ""
        raise CommandError(f"{what}: {error.strerror}{hint}") from error
    except NO_JSON as error:
        raise CommandError(f"{what} is no JSON object: {error}") from error
    return {**body, "model": model} if model else body


def request_of(
    body: dict[str, Any], configuration: "Configuration", *, key: str, tier: str, now_ms: int
) -> "InferenceRequested":
    """The record that a gateway would make of a body.

    Raises:
        CommandError: It would be refused, or there is no such key.
    """
    import msgspec  # noqa: PLC0415

    from services.shared.domain.admission.accept import (  # noqa: PLC0415
        Acceptance,
        Caller,
        requested_from,
    )
    from services.shared.domain.admission.admit import admit  # noqa: PLC0415
    from services.shared.domain.admission.limits import limits_from_configuration  # noqa: PLC0415
    from services.shared.domain.errors import PublicError  # noqa: PLC0415
    from services.shared.domain.events import Operation  # noqa: PLC0415

    operation = next((name for name, field in _FIELDS.items() if field in body), None)
    if operation is None:
        wanted = ", ".join(f"'{field}'" for field in _FIELDS.values())
        raise CommandError(f"The body is no request: it has none of {wanted}.")
    known = next((each for each in configuration.keys if each.id == key), None)
    if key and known is None:
        raise CommandError(f"There is no key '{key}' in the configuration.")
    admitted = admit(
        Operation(operation),
        msgspec.json.encode(body),
        limits=limits_from_configuration(configuration.limits),
    )
    if isinstance(admitted, PublicError):
        raise CommandError(f"A gateway would refuse it ({admitted.code}): {admitted.message}")
    return requested_from(
        admitted,
        caller=Caller(
            tenant="" if known is None else known.tenant,
            key_id=key,
            tier=tier or ("" if known is None else known.tier),
        ),
        acceptance=Acceptance(request_id="explained", accepted_at=now_ms, deadline_at=now_ms),
        cache_policy=admitted.cache_policy,
    )


def past_request(
    bootstrap: str, request_id: str, *, invocation: Invocation
) -> "InferenceRequested":
    """A request that the router has seen; says how it was routed then.

    Raises:
        CommandError: The cache answered it, or it is not known any more.
    """
    from services.cli.trace import find_terminal  # noqa: PLC0415
    from services.shared.domain.events import CacheMissed  # noqa: PLC0415
    from services.shared.domain.ids import origin_from_request_id  # noqa: PLC0415
    from services.shared.domain.topics import Topic  # noqa: PLC0415

    origin = origin_from_request_id(request_id)
    since_ms = 0 if origin is None else origin.accepted_at_ms - 10_000
    wanted = request_id.encode()
    for key, missed in _records(bootstrap, Topic.CACHE_MISSES, CacheMissed, since_ms, wanted):
        if key == wanted:
            finished = find_terminal(bootstrap, request_id)
            if finished is not None and finished.route is not None:
                then = finished.route
                order = ", ".join(f"{each.provider}/{each.model}" for each in then.targets)
                said = f"then: {then.strategy} chose {order}: {then.reason}"
                invocation.errors.print(said, markup=False, soft_wrap=True)
            return missed.request  # type: ignore[no-any-return]
    raise CommandError(
        f"{request_id} was never routed: the cache answered it, or it is unknown, or older than "
        "the topic keeps."
    )


def explanation_of(
    request: "InferenceRequested",
    configuration: "Configuration",
    *,
    brokers: str,
    now_ms: int,
    may_everything: bool,
) -> "Explanation":
    """The router's decision, explained."""
    from services.shared.adapters.complexity_weights import classifiers_of  # noqa: PLC0415
    from services.shared.adapters.genai_prices_model_catalog import (  # noqa: PLC0415
        GenaiPricesModelCatalog,
    )
    from services.shared.domain.routing.decide import Caller, Seen  # noqa: PLC0415
    from services.shared.domain.routing.explain import explained  # noqa: PLC0415
    from services.shared.domain.routing.observed import Observed  # noqa: PLC0415
    from services.shared.domain.routing.routing_table import RoutingTable  # noqa: PLC0415

    table = RoutingTable(
        configuration,
        GenaiPricesModelCatalog(configuration.providers).facts,
        classifiers=classifiers_of(configuration),
    )
    observed = Observed(table.reference)
    if brokers and table.observes:
        read_back(observed, brokers, now_ms=now_ms)
    return explained(
        request,
        caller=Caller() if may_everything else table.caller(request.key_id),
        alias=table.alias(request.model, at_ms=request.accepted_at),
        config_version=table.version,
        seen=Seen(observed=observed, now_ms=now_ms),
    )


def read_back(observed: "Observed", bootstrap: str, *, now_ms: int) -> None:
    """Learn what a router that starts now would learn."""
    from services.shared.domain.events import InferenceFinished, ProviderHealth  # noqa: PLC0415
    from services.shared.domain.routing.observed import PROMPT_CACHE_IDLE_MS  # noqa: PLC0415
    from services.shared.domain.topics import Topic  # noqa: PLC0415

    for _, health in _records(bootstrap, Topic.PROVIDER_HEALTH, ProviderHealth, 0):
        observed.take_health(health)
    since_ms = now_ms - PROMPT_CACHE_IDLE_MS
    for _, finished in _records(bootstrap, Topic.INFERENCE_RESULTS, InferenceFinished, since_ms):
        observed.take_result(finished)


def _records(
    bootstrap: str, topic: str, event_type: Any, since_ms: int, wanted: bytes | None = None
) -> Any:
    """Keys and records of a topic from a time on; only those of one key, if one is wanted."""
    from services.shared.codec.records import decode_record  # noqa: PLC0415
    from services.shared.domain.errors import PoisonRecord  # noqa: PLC0415
    from services.shared.stream.bulk import BulkReader, Position  # noqa: PLC0415

    reader = BulkReader(bootstrap, topic, position=Position(since_ms=since_ms))
    try:
        for records in reader.batches(follow=False):
            for record in records:
                if record.value is None or (wanted is not None and record.key != wanted):
                    continue
                try:
                    yield record.key, decode_record(record.value, event_type)
                except PoisonRecord:
                    continue  # its dead letter says why
    finally:
        reader.close()


def _brokers(invocation: Invocation, *, bootstrap: str, data: Path) -> str:
    if bootstrap:
        return bootstrap
    stack = running_stack(invocation, data=data)
    return "" if stack is None else stack.addresses.get("kafka", "")


def show(explanation: "Explanation", invocation: Invocation) -> None:
    """Print an explanation."""
    from rich.table import Table  # noqa: PLC0415

    for line in lines(explanation):
        invocation.console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not explanation.targets:
        return
    table = Table("", box=None)
    for heading in ("target", "stopped by"):
        table.add_column(heading, overflow="fold")
    for heading in ("expected USD", "answer tokens", "first output ms", "whole ms"):
        table.add_column(heading, justify="right")
    table.add_column("circuit")
    for target in sorted(explanation.targets, key=lambda each: each.position or sys.maxsize):
        table.add_row(
            str(target.position or "-"),
            target.name,
            ", ".join(target.stopped_by) or "-",
            f"{target.expected_cost_nanousd / 1e9:.6f}",
            *(_figure(n) for n in (target.output_tokens, target.first_output_ms, target.whole_ms)),
            "open" if target.is_open else "closed",
        )
    invocation.console.print(table)


def lines(explanation: "Explanation") -> list[str]:
    """What there is to say beside the targets."""
    said = [
        f"{explanation.operation} {explanation.model}, about {explanation.input_tokens} tokens in, "
        f"configuration {explanation.config_version}",
        f"strategy  {explanation.strategy or '-'}",
        f"{'refused ' if explanation.is_refused else 'decision'}  {explanation.decision}",
    ]
    if explanation.is_cascade:
        said.append("cascade   the answer is judged, and the next target asked if it is doubtful")
    if explanation.conversation:
        said.append(f"held as   {explanation.conversation}")
    hardness = explanation.hardness
    if hardness is not None:
        unsure = ", and nothing to go by" if hardness.is_unsure else ""
        limits = ", ".join(f"{limit:.3f}" for limit in hardness.limits) or "none"
        shares = ", ".join(f"{share:.0%}" for share in hardness.shares)
        said += [
            f"score     {hardness.score:.3f}{unsure}; tier {explanation.tier or '-'}",
            f"cues      {', '.join(hardness.cues) or 'none'}",
            f"cuts      {limits} for shares of {shares}, from {hardness.own_requests} own requests",
        ]
    return said


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
