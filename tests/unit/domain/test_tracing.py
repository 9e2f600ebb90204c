"""W3C trace context, and ids that follow from the request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.tracing import (
    TraceContext,
    read_traceparent,
    request_context,
    span_id_for,
    trace_id_for,
    traceparent,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = TraceContext(trace_id=TRACE, parent_id=SPAN, is_sampled=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"00-{TRACE}-{SPAN}-01", CALLER, id="sampled"),
        pytest.param(
            f"00-{TRACE}-{SPAN}-00", TraceContext(trace_id=TRACE, parent_id=SPAN), id="not_sampled"
        ),
        pytest.param(f"00-{TRACE}-{SPAN}-ff", CALLER, id="other_flags"),
        pytest.param(
            f"00-{TRACE}-{SPAN}-fe", TraceContext(trace_id=TRACE, parent_id=SPAN), id="all_but_it"
        ),
        pytest.param(f"cc-{TRACE}-{SPAN}-01", CALLER, id="a_later_version"),
        pytest.param(f"cc-{TRACE}-{SPAN}-01-more", CALLER, id="a_later_version_says_more"),
        pytest.param(f"00-{TRACE}-{SPAN}-01-more", None, id="this_version_says_no_more"),
        pytest.param(f"ff-{TRACE}-{SPAN}-01", None, id="no_version"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01", None, id="no_trace"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", None, id="no_span"),
        pytest.param(f"00-{TRACE.upper()}-{SPAN}-01", None, id="capitals"),
        pytest.param(f"00-{TRACE}-{SPAN}", None, id="no_flags"),
        pytest.param(f" 00-{TRACE}-{SPAN}-01", None, id="space"),
        pytest.param(f"00-{TRACE}-{SPAN}-01\n", None, id="line_feed"),
        pytest.param("", None, id="empty"),
    ],
)
def test_traceparent_is_read_by_the_standard(text: str, expected: TraceContext | None) -> None:
    """What is malformed is as if it were not there."""
    assert read_traceparent(text) == expected


@given(
    st.builds(
        TraceContext,
        trace_id=st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}"),
        parent_id=st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}"),
        is_sampled=st.booleans(),
    )
)
def test_what_is_written_is_read(context: TraceContext) -> None:
    """Nothing is lost on the way."""
    assert read_traceparent(traceparent(context)) == context


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Anything is a context or none."""
    read_traceparent(text)


def test_ids_follow_from_the_request() -> None:
    """Whoever asks gets the same; every stage and attempt has its own."""
    assert span_id_for("a", "router") == span_id_for("a", "router")
    ids = {
        span_id_for(request, stage, attempt)
        for request in ("a", "b")
        for stage in ("router", "batcher")
        for attempt in (0, 1)
    }
    assert len(ids) == 8
    assert trace_id_for("a") != trace_id_for("b")
    assert (len(trace_id_for("a")), len(span_id_for("a", "router"))) == (32, 16)


def test_a_request_continues_its_caller_s_trace_or_begins_one() -> None:
    """The root of a new trace is the front door's span."""
    assert request_context("a", CALLER) == CALLER
    begun = request_context("a", None)
    assert begun == TraceContext(trace_id=trace_id_for("a"), parent_id=span_id_for("a", "gateway"))
    assert read_traceparent(traceparent(begun)) == begun
