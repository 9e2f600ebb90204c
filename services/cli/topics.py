"""``millrace topics``: the declared topics, and what a cluster has of them."""

from typing import Annotated

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of, running_stack
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of

app = typer.Typer(no_args_is_help=True, help="Look at the topics, or apply them to a cluster.")
_REPLICATION = 1


@app.command("list")
def list_topics(context: typer.Context) -> None:
    """List the declared topics."""
    from rich.table import Table  # noqa: PLC0415

    from services.shared.codec.topics import packaged_topics  # noqa: PLC0415

    table = Table(box=None)
    for column in ("topic", "record"):
        table.add_column(column, no_wrap=True)  # names are there to be copied
    for column in ("partitions", "kept", "producers", "consumers"):
        table.add_column(column)
    for name, spec in packaged_topics().items():
        kept = spec.config.get("retention.ms")
        table.add_row(
            name,
            spec.record,
            str(spec.partitions),
            f"{int(kept) / 3_600_000:g} h" if kept else "for ever",
            ", ".join(spec.producers),
            ", ".join(spec.consumers),
        )
    invocation_of(context).console.print(table)


@app.command("describe")
def describe_topic(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="Name of a topic.")],
    *,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show a topic's declaration and, where a cluster answers, what the cluster has."""
    import yaml  # noqa: PLC0415

    from services.shared.codec.topics import TOPICS_FOLDER, packaged_topics  # noqa: PLC0415
    from services.shared.stream.admin import read_topics  # noqa: PLC0415

    console = invocation_of(context).console
    if topic not in packaged_topics():
        raise CommandError(f"There is no topic '{topic}'. 'millrace topics list' lists them.")
    console.print((TOPICS_FOLDER / f"{topic}.yaml").read_text(), highlight=False, markup=False)
    try:
        brokers = bootstrap_of(invocation_of(context), bootstrap=bootstrap, data=data)
    except CommandError:
        console.print("No cluster is running here to compare it with.")
        return
    there = read_topics(brokers, [topic]).get(topic)
    if there is None:
        console.print(f"The cluster at {brokers} does not have it; 'millrace topics apply' does.")
        return
    declared = packaged_topics()[topic].config
    found = {key: there.config.get(key) for key in declared}
    console.print(f"On {brokers}: {there.partitions} partitions")
    console.print(yaml.safe_dump(found), highlight=False, markup=False)


@app.command("apply")
def apply_command(
    context: typer.Context,
    *,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
    partitions: Annotated[
        int,
        typer.Option(
            help="Partitions of each topic; 0 = as the local stack has, else as declared.",
            min=0,
        ),
    ] = 0,
    replication: Annotated[int, typer.Option(help="Replicas of new topics.", min=1)] = _REPLICATION,
) -> None:
    """Create the topics that are missing and set what differs. Idempotent; never shrinks."""
    from services.shared.codec.topics import packaged_topics  # noqa: PLC0415
    from services.shared.stream.admin import apply_topics  # noqa: PLC0415

    invocation = invocation_of(context)
    brokers = bootstrap_of(invocation, bootstrap=bootstrap, data=data)
    if not partitions and not bootstrap and (stack := running_stack(invocation, data=data)):
        partitions = stack.partitions
    changes = apply_topics(
        brokers, packaged_topics(), partitions=partitions or None, replication=replication
    )
    done = [change for change in changes if change.action != "none"]
    for change in done:
        detail = f"  ({change.detail})" if change.detail else ""
        invocation.console.print(
            f"{change.action:<10} {change.wanted.name}{detail}", highlight=False, soft_wrap=True
        )
    unchanged = len(changes) - len(done)
    invocation.console.print(f"{len(done)} changed, {unchanged} as declared.")
