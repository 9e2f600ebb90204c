"""``millrace cache report``: what the verified mode knows of each tenant, from the topic alone."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any, Protocol

import msgspec
from rich.console import Console

from services.cache_lookup.verified.bound import DOUBT, most_wrong_of
from services.cache_lookup.verified.controller import NOTHING, Controller
from services.cache_lookup.verified.gatekeeper import Controllers
from services.cli.tables import print_table, say
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import CandidateJudged
from services.shared.domain.topics import Topic
from services.shared.stream.bulk import BulkReader, Position, Read

_COLUMNS = (
    "tenant", "threshold", "requests", "hits ~", "asked again", "wrong", "vetoed",
    "wrong / request <=", "wrong / hit <=",
)  # fmt: skip
_NUMBERS = frozenset(_COLUMNS[1:])


class Judgements(Protocol):
    """Reads ``cache-judgements`` from its beginning to its end."""

    def batches(self, *, follow: bool) -> Iterable[Iterable[Read]]:
        """Hand out the records."""
        ...


class TenantReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tenant.

    Attributes:
        tenant: The tenant.
        threshold: Score from which on answers are served; null = none is.
        requests: Compared requests that the evidence stands for.
        hits: Served hits that the re-asks stand for.
        asked_again: Served hits that were asked again.
        found_wrong: Number of those that were wrong.
        vetoed_entries: Entries that are served for closer questions only.
        wrong_per_request: Upper bound on P(wrong and served) at the threshold; null = none serves.
        wrong_per_hit: Upper bound on the share of hits that are wrong; null = none was asked again.
    """

    tenant: str
    threshold: float | None
    requests: int
    hits: int
    asked_again: int
    found_wrong: int
    vetoed_entries: int
    wrong_per_request: float | None
    wrong_per_hit: float | None


def read_controllers(
    judgements: Judgements, *, most_wrong: float, unreadable: Callable[[int], None]
) -> Controllers:
    """Fold the topic as every look-up does.

    Args:
        judgements: The topic.
        most_wrong: The bound that is asked for.
        unreadable: Told how many records could not be read.
    """
    controllers = Controllers(most_wrong=most_wrong)
    failed = 0
    for records in judgements.batches(follow=False):
        for record in records:
            try:
                controllers.apply(decode_record(record.value or b"", CandidateJudged))
            except PoisonRecord:
                failed += 1
    if failed:
        unreadable(failed)
    controllers.caught_up()
    return controllers


def controllers_at(
    brokers: str, *, most_wrong: float, unreadable: Callable[[int], None]
) -> Controllers:
    """``read_controllers`` from the topic itself."""
    reader = BulkReader(brokers, Topic.CACHE_JUDGEMENTS, position=Position())
    try:
        return read_controllers(reader, most_wrong=most_wrong, unreadable=unreadable)
    finally:
        reader.close()


def reports_of(controllers: Controllers, *, tenant: str) -> list[TenantReport]:
    """What is known of each tenant, or of one alone; empty = all."""
    found = [report_of(name, it) for name, it in controllers.tenants() if tenant in {"", name}]
    return sorted(found, key=lambda report: report.tenant)


def print_report(console: Console, reports: list[TenantReport], *, most_wrong: float) -> None:
    """A table, and what it says."""
    if not reports:
        say(console, "Nothing was judged yet: no alias is in the mode 'verified', or no candidate "
            "has come close. Nothing is served.")  # fmt: skip
        return
    print_table(console, _COLUMNS, [_row(report) for report in reports], right=_NUMBERS)
    least = evidence_needed(most_wrong)
    say(
        console,
        f"Bounds hold with {1 - DOUBT:.0%} confidence, one-sided. Asked for: at most "
        f"{most_wrong:.2%} of a tenant's compared requests wrong and served; that takes {least} "
        "requests without an error before anything is served. Hits are estimated from re-asks.",
    )


def evidence_needed(most_wrong: float) -> int:
    """Requests without an error after which the first answer is served."""

    def suffices(count: int) -> bool:
        controller = Controller(most_wrong=most_wrong)
        controller.saw_none(count)
        return controller.threshold != NOTHING

    return bisect_left(range(ceil(10 / most_wrong)), 1, key=suffices)


def report_document(reports: list[TenantReport], *, most_wrong: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "most_wrong": most_wrong,
        "confidence": 1 - DOUBT,
        "evidence_needed": evidence_needed(most_wrong),
        "tenants": [msgspec.to_builtins(report) for report in reports],
    }


def report_of(tenant: str, controller: Controller) -> TenantReport:
    """What is known of a tenant."""
    serves = controller.threshold != NOTHING
    asked, wrong = controller.asked_again, controller.found_wrong
    return TenantReport(
        tenant=tenant,
        threshold=controller.threshold if serves else None,
        requests=round(controller.requests),
        hits=round(controller.hits),
        asked_again=asked,
        found_wrong=wrong,
        vetoed_entries=controller.vetoed,
        wrong_per_request=controller.upper_bound if serves else None,
        wrong_per_hit=most_wrong_of(wrong, asked) if asked else None,
    )


def _row(report: TenantReport) -> tuple[str, ...]:
    return (
        report.tenant,
        "serves none" if report.threshold is None else f"{report.threshold:.2f}",
        str(report.requests),
        str(report.hits),
        str(report.asked_again),
        str(report.found_wrong),
        str(report.vetoed_entries),
        _share(report.wrong_per_request),
        _share(report.wrong_per_hit),
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
