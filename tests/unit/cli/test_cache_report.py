"""What ``millrace cache report`` says, from the topic alone."""

import io
from collections.abc import Iterable, Sequence

import pytest
from rich.console import Console

from services.cli.cache.report import (
    evidence_needed,
    print_report,
    read_controllers,
    report_document,
    reports_of,
)
from services.shared.codec.records import encode_record
from services.shared.domain.events import CandidateJudged
from services.shared.stream.bulk import Read


def judged(number: int, *, tenant: str = "acme", is_right: bool = True) -> bytes:
    """A re-ask that stands for ten hits, after 300 requests without a candidate."""
    return encode_record(
        CandidateJudged(
            request_id=f"request-{number:08d}-shadow",
            tenant=tenant,
            entry_id="entry-1",
            scope="scope-a",
            score=0.95,
            is_right=is_right,
            was_served=True,
            weight=10.0,
            at=1,
            without_candidate=300,
        )
    )


class Topic:
    """Records, in two batches."""

    def __init__(self, *values: bytes) -> None:
        """Hold them."""
        self._records = [
            Read(
                topic="cache-judgements",
                partition=0,
                offset=number,
                timestamp_ms=1,
                key=b"acme",
                value=value,
                headers=(),
            )
            for number, value in enumerate(values)
        ]

    def batches(self, *, follow: bool) -> Iterable[Sequence[Read]]:
        """Hand them out."""
        assert not follow
        return (self._records[:1], self._records[1:])


def test_a_report_counts_and_bounds() -> None:
    """Evidence, hits that re-asks stand for, wrong ones, and both bounds; a repeat counts once."""
    lost: list[int] = []
    topic = Topic(judged(1), judged(2), judged(2), b"\xff", judged(3, is_right=False))
    controllers = read_controllers(topic, most_wrong=0.02, unreadable=lost.append)
    (report,) = reports_of(controllers, tenant="")
    assert (report.requests, report.hits, report.asked_again) == (930, 30, 3)
    assert (report.found_wrong, report.vetoed_entries) == (1, 1)
    assert lost == [1]
    assert report.wrong_per_hit == pytest.approx(0.8646, rel=1e-3)
    assert report.threshold is None  # a tenth is asked again, and of that one was wrong
    assert report.wrong_per_request is None


def test_a_report_says_what_is_served_and_how_often_it_is_wrong_at_most() -> None:
    """Once enough was asked again, and found right."""
    lost: list[int] = []
    topic = Topic(*(judged(number) for number in range(60)))
    controllers = read_controllers(topic, most_wrong=0.02, unreadable=lost.append)
    (report,) = reports_of(controllers, tenant="")
    assert report.threshold is not None
    assert report.wrong_per_request is not None
    assert 0 < report.wrong_per_request <= 0.02


def test_a_tenant_may_be_picked() -> None:
    """Others are left out."""
    topic = Topic(judged(1), judged(2, tenant="another"))
    controllers = read_controllers(topic, most_wrong=0.02, unreadable=print)
    reports = reports_of(controllers, tenant="another")
    assert [report.tenant for report in reports] == ["another"]


def test_what_is_printed_says_how_sure_it_is() -> None:
    """The table has the tenant; below it stands what the bound takes."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    topic = Topic(judged(1))
    controllers = read_controllers(topic, most_wrong=0.02, unreadable=print)
    reports = reports_of(controllers, tenant="")
    print_report(console, reports, most_wrong=0.02)
    text = out.getvalue()
    assert "acme" in text
    assert "95%" in text
    assert str(evidence_needed(0.02)) in text
    document = report_document(reports, most_wrong=0.02)
    assert document["tenants"][0]["tenant"] == "acme"


def test_an_empty_topic_is_said_to_be_empty() -> None:
    """And that nothing is served."""
    out = io.StringIO()
    print_report(Console(file=out, width=200), [], most_wrong=0.02)
    assert "Nothing is served" in out.getvalue()


@pytest.mark.parametrize(("most_wrong", "least"), [(0.02, 285), (0.01, 570)])
def test_evidence_that_a_claim_needs(most_wrong: float, least: int) -> None:
    """About 5.8 over the bound."""
    assert evidence_needed(most_wrong) == pytest.approx(least, rel=0.03)
