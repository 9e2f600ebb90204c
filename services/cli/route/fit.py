"""``millrace route fit``: weights and a calibration from labels of own traffic."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of
from services.cli.route.fit_cascade import fit_cascade

if TYPE_CHECKING:
    from services.cli.route.feedback import Reader
    from services.cli.route.labels import Label, Pair
    from services.cli.route.refit import Refit


def fit(  # noqa: PLR0913  # the options of a command
    context: typer.Context,
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write; 'complexity.weights' takes it, or 'cascade.calibration'."
        ),
    ],
    cascade: Annotated[
        str,
        typer.Option(
            help="Fit the calibration of the cascade instead, to the answers of this alias."
        ),
    ] = "",
    weak: Annotated[str, typer.Option(help="The weakest target, as provider/model.")] = "weak",
    strong: Annotated[str, typer.Option(help="The strongest one, likewise.")] = "strong",
    labels: Annotated[
        Path | None,
        typer.Option(
            help='JSONL of {"prompt","weak","strong"} or {"prompt","target","score"}, scores 0..1; '
            "default: the feedback in Kafka."
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Weights, or calibration, to begin with; default: the shipped one."),
    ] = None,
    since: Annotated[
        str, typer.Option(help="Only feedback since: 10m, 2h, 30d or an ISO 8601 time.")
    ] = "",
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Refit the router's classifier to labels of own traffic; 300 to 1,000 are worth it.

    A third of the labels is kept out of the fit. The new weights are written only if they rank
    those better than the old ones do; both figures are said. With --cascade it is the probability
    that an answer is good: for each target with 100 judged answers, written where it foretells
    answers better that were kept out of the fit. Exit code: 0 = written; 1 = not.
    """
    if cascade:
        if labels is not None:
            raise CommandError("--labels are about prompts; --cascade needs answers, from Kafka.")
        source = partial(_reader, context, bootstrap, data, since)
        fit_cascade(invocation_of(context), cascade, source, out=out, base=base)
        return
    from services.cli.route.labels import Pair, labels_from_lines  # noqa: PLC0415
    from services.cli.route.refit import refit  # noqa: PLC0415
    from services.cli.route.weights_file import weights_file  # noqa: PLC0415
    from services.shared.adapters.complexity_weights import (  # noqa: PLC0415
        SHIPPED,
        read_classifier,
    )

    invocation = invocation_of(context)
    pair = Pair(weak, strong)
    if labels is None:
        from services.cli.route.feedback import read_labels  # noqa: PLC0415

        found = read_labels(_reader(context, bootstrap, data, since), pair)
    else:
        found = labels_from_lines(_lines(invocation.path(labels)), pair)
    old = read_classifier(invocation.path(base) if base else SHIPPED)
    result = refit(old.weights, enough(found, pair))
    invocation.console.print(said(result), markup=False, highlight=False, soft_wrap=True)
    if not result.is_better:
        raise typer.Exit(1)
    target = invocation.path(out)
    target.write_bytes(weights_file(result.weights))
    invocation.console.print(f"Written: {target}", markup=False, highlight=False, soft_wrap=True)


def enough(labels: "list[Label]", pair: "Pair") -> "list[Label]":
    """The labels, if they are enough to fit and to judge.

    Raises:
        CommandError: They are too few; says which ones count.
    """
    from services.cli.route.refit import LEAST_LABELS  # noqa: PLC0415

    if len(labels) < LEAST_LABELS:
        raise CommandError(
            f"{len(labels)} labels are about '{pair.weak}' or '{pair.strong}'; at least "
            f"{LEAST_LABELS} are needed, and 300 to 1,000 are worth it. Name the targets with "
            "--weak and --strong."
        )
    return labels


def said(result: "Refit") -> str:
    """What a refit came to, in two sentences."""
    if result.old is None or result.new is None:
        return (
            f"Of {result.kept_out} labels kept out of the fit the strong target is no better than "
            "the weak one, so nothing can be said. The old weights stay."
        )
    end = "The new weights are better." if result.is_better else "The old weights stay."
    return (
        f"APGR on {result.kept_out} of {result.labels} labels, kept out of the fit: old "
        f"{result.old:.3f}, new {result.new:.3f} (random .500). {end}"
    )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error


def _reader(
    context: typer.Context, bootstrap: str, data: Path, since: str
) -> "Callable[[str], Reader]":
    from services.cli.times import time_ms  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.stream.bulk import BulkReader, Position  # noqa: PLC0415

    brokers = bootstrap_of(invocation_of(context), bootstrap=bootstrap, data=data)
    since_ms = time_ms("--since", since, now_ms=SystemClock().now_ms()) if since else None

    def reader(topic: str) -> BulkReader:
        return BulkReader(brokers, topic, position=Position(since_ms=since_ms))

    return reader
