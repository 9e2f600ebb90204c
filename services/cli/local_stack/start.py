"""A start of the stack, from what the user asked for to the running supervisor."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from rich.console import Console

from services.cli.demo import Demo, show
from services.cli.local_stack.configuration import (
    ChosenConfiguration,
    choose_configuration,
    providers_misled,
)
from services.cli.local_stack.disks import data_disk
from services.cli.local_stack.environment import Surroundings, python_environment
from services.cli.local_stack.java import find_java
from services.cli.local_stack.kafka import Broker, is_formatted
from services.cli.local_stack.keys import make_dev_key, make_secret
from services.cli.local_stack.lock import hold
from services.cli.local_stack.orphans import end_orphans
from services.cli.local_stack.plan import (
    CONTROLLER,
    Plan,
    addresses,
    kafka_process,
    redis_process,
    service_process,
    usual_ports,
)
from services.cli.local_stack.ports import HOST, Reservations, choose_ports
from services.cli.local_stack.prepare import prepare_broker, prepare_jars, try_encoder
from services.cli.local_stack.redis import find_redis
from services.cli.local_stack.run import run
from services.cli.local_stack.screen import Screen
from services.cli.local_stack.services import LOCAL_MODELS, SERVICES, Instance, Service, instances
from services.cli.local_stack.state import Layout, read_stack, read_topics_made
from services.cli.local_stack.topics import agreed_partitions, topics_digest
from services.shared.adapters.minilm.pinned import encoder_folder


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        data: The data directory, absolute.
        config: Configuration file, absolute; null = what follows from the environment.
        port: The gateway's port; null = the usual one, or a free one.
        partitions: Partitions of each pipeline topic; null = as many as there are, or the default.
        scale: Number of instances by service, where it is not one.
        fsync: Whether Kafka acknowledges only what it has forced to the disk.
        with_table: Whether to keep a table on the screen.
        in_background: Whether nobody looks: events only, no log lines.
        with_demo: Whether to send a first request and show its journey.
        services: The table of services.
    """

    data: Path
    config: Path | None = None
    port: int | None = None
    partitions: int | None = None
    scale: dict[str, int] = {}
    fsync: bool = False
    with_table: bool = False
    in_background: bool = False
    with_demo: bool = False
    services: tuple[Service, ...] = SERVICES


def run_stack(request: StartRequest, *, environ: Mapping[str, str], console: Console) -> None:
    """Run the stack until a signal ends it.

    Raises:
        CommandError: It cannot start here or as asked; says why and what to do.
        InvalidConfiguration: The configuration or the topics do not fit.
    """
    layout = Layout(request.data)
    with hold(layout):
        _end_orphans(layout, console)
        _say_if_full(layout, console)
        reservations = Reservations()  # of ports; they end with this process
        plan, greeting = make_plan(
            request, environ=environ, reservations=reservations, console=console
        )
        names = [spec.name for spec in (plan.kafka, plan.redis, *plan.on_path, *plan.beside)]
        with Screen(console, names=names, with_table=request.with_table) as screen:
            follow_logs = not request.in_background
            demo = _demo(plan, screen, environ) if request.with_demo else None
            asyncio.run(
                run(plan, screen=screen, greeting=greeting, follow_logs=follow_logs, demo=demo)
            )


def _demo(plan: Plan, screen: Screen, environ: Mapping[str, str]) -> Callable[[], Awaitable[None]]:
    about = Demo(
        base_url=plan.addresses["openai"],
        key_file=plan.layout.dev_key,
        bootstrap=plan.bootstrap,
        environ=environ,
    )

    async def show_aside() -> None:
        with screen.aside() as console:
            await show(about, console)

    return show_aside


def make_plan(
    request: StartRequest,
    *,
    environ: Mapping[str, str],
    reservations: Reservations,
    console: Console,
) -> tuple[Plan, str]:
    """Decide and prepare everything that a start needs.

    Returns:
        What to run, and what to say when it runs.

    Raises:
        CommandError: It cannot start here or as asked.
        InvalidConfiguration: The configuration does not fit.
    """
    layout = Layout(request.data)
    partitions = agreed_partitions(layout, asked=request.partitions)
    running = instances(request.services, scale=request.scale)
    java, redis = find_java(environ), find_redis(environ)
    jars = prepare_jars(environ, console=console)
    for folder in (layout.logs, layout.redis):
        folder.mkdir(parents=True, exist_ok=True)
    ports = _ports(request, running, reservations, console)
    chosen = _configuration(request, layout, running, ports, environ)
    _tell_of_misled(chosen, ports, running, console)
    if not chosen.needs_local_models:
        running = tuple(it for it in running if it.service.name != LOCAL_MODELS)
    if chosen.needs_encoder:
        try_encoder(environ, console=console)
    make_secret(layout)
    new_key = make_dev_key(layout)
    for variable in chosen.unset:
        console.print(f"Not set, so its provider refuses calls: {variable}.", soft_wrap=True)
    broker = Broker(
        java=java,
        jars=jars,
        folder=layout.kafka,
        port=ports["kafka"],
        controller_port=ports[CONTROLLER],
        fsync=request.fsync,
    )
    was_formatted = is_formatted(broker)
    jvm_options = prepare_broker(broker, log=layout.log_of("kafka"), console=console)
    made = read_topics_made(layout)
    digest = topics_digest()
    surroundings = Surroundings(
        layout=layout,
        config=str(chosen.path),
        ports=ports,
        provider_keys=chosen.provider_keys,
        encoder=encoder_folder(environ),
    )
    processes = {
        instance: service_process(instance, surroundings, environ=environ) for instance in running
    }
    plan = Plan(
        layout=layout,
        config=str(chosen.path),
        partitions=partitions,
        topics_digest=digest,
        topics_exist=was_formatted and made is not None and made.digest == digest,
        addresses=addresses(running, ports),
        bootstrap=broker.bootstrap,
        kafka=kafka_process(broker, layout=layout, jvm_options=jvm_options, environ=environ),
        redis=redis_process(redis, port=ports["redis"], layout=layout, environ=environ),
        on_path=tuple(spec for instance, spec in processes.items() if instance.service.on_path),
        beside=tuple(spec for instance, spec in processes.items() if not instance.service.on_path),
        environ=python_environment(environ),
    )
    how_to_stop = f"'{layout.command('down')}'" if request.in_background else "Ctrl-C"
    return plan, f"{greeting(plan, chosen, new_key=new_key)}\n  {how_to_stop} stops it."


def greeting(plan: Plan, chosen: ChosenConfiguration, *, new_key: str | None) -> str:
    """What to say when requests can be answered."""
    served, layout = plan.addresses, plan.layout
    key = f"{new_key}  (new; kept in {layout.dev_key})" if new_key else f"in {layout.dev_key}"
    lines = {
        "OpenAI endpoint": served.get("openai", "none"),
        "Key": key,
        "Kafka": served["kafka"],
        "Redis": served["redis"],
        "Configuration": chosen.origin,
        "Logs": str(layout.logs),
    }
    text = "\n".join(f"  {name:<16} {value}" for name, value in lines.items())
    return f"Millrace is ready.\n{text}"


def _end_orphans(layout: Layout, console: Console) -> None:
    """End what a killed supervisor left, where the system has not done so already."""
    stack = read_stack(layout)
    ended = end_orphans(stack.processes) if stack else []
    if ended:
        names = ", ".join(ended)
        console.print(f"Ended what an earlier stack left running: {names}.", soft_wrap=True)


def _say_if_full(layout: Layout, console: Console) -> None:
    """Say before the start why the gateway may refuse requests after it."""
    disk = data_disk(layout)
    if disk.remedy:
        console.print(f"{disk.subject}: {disk.text}. {disk.remedy}", soft_wrap=True)


def _ports(
    request: StartRequest,
    running: tuple[Instance, ...],
    reservations: Reservations,
    console: Console,
) -> dict[str, int]:
    demanded = {} if request.port is None else {"gateway": request.port}
    usual = usual_ports(running)
    ports = choose_ports(usual, demanded=demanded, reservations=reservations)
    for name, port in ports.items():
        of_interest = name not in demanded and name != CONTROLLER and "/" not in name
        if of_interest and usual[name] not in (0, port):
            console.print(f"Port {usual[name]} is taken; {name} uses {port}.", soft_wrap=True)
    return ports


def _tell_of_misled(
    chosen: ChosenConfiguration,
    ports: Mapping[str, int],
    running: tuple[Instance, ...],
    console: Console,
) -> None:
    usual = usual_ports(running)
    moved = {
        usual[name]: f"http://{HOST}:{ports[name]}"
        for name in ("simulator", LOCAL_MODELS)
        if name in ports and ports[name] != usual[name]
    }
    for name, url in providers_misled(chosen.local_ports, moved).items():
        console.print(
            f"Provider '{name}' is at a port that another program has: for this stack's own name "
            f"{url} in the configuration.",
            soft_wrap=True,
        )


def _configuration(
    request: StartRequest,
    layout: Layout,
    running: tuple[Instance, ...],
    ports: Mapping[str, int],
    environ: Mapping[str, str],
) -> ChosenConfiguration:
    simulator = ports.get("simulator")
    local_models = [it.name for it in running if it.service.name == LOCAL_MODELS]
    return choose_configuration(
        request.config,
        layout=layout,
        simulator_url=f"http://{HOST}:{simulator}" if simulator else "",
        local_models_urls=[f"http://{HOST}:{ports[name]}" for name in local_models],
        environ=environ,
    )
