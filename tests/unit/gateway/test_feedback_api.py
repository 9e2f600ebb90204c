"""``POST /v1/requests/{id}/feedback``."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.feedback import MAX_BODY_BYTES, Opinion, opinion_from
from services.gateway.feedback_api import FeedbackApi
from services.gateway.own_requests import OwnRequests
from services.shared.domain.errors import PublicError
from services.shared.domain.events import FeedbackGiven
from tests.support.example_events import finished, missed, requested
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.gateway_desk import (
    KEY,
    OTHER_KEY,
    REQUEST_ID,
    STRANGER_KEY,
    FakeFeedback,
    FakeFinder,
    FakePublisher,
    Sent,
    desk_of,
    http_request,
)

COMPLETED = finished(request_id=REQUEST_ID)


async def given_to(
    finder: FakeFinder, feedback: FakeFeedback, document: Any = None, *, key: str = KEY
) -> Sent:
    """What is answered to an opinion."""
    request = http_request(
        f"/v1/requests/{REQUEST_ID}/feedback",
        headers={"authorization": f"Bearer {key}"},
        body=msgspec.json.encode({"thumb": "up"} if document is None else document),
    )
    request.parameters = (REQUEST_ID,)
    sent = Sent()
    desk = desk_of(FakeClock(), FakePublisher(), feedback=feedback)
    await FeedbackApi(desk, OwnRequests(finder)).give(request, sent)
    assert sent.headers["x-request-id"]
    return sent


async def test_an_opinion_is_recorded_and_shown() -> None:
    """With the tenant of the request, and an id that a second opinion of the source has, too."""
    feedback = FakeFeedback()
    sent = await given_to(FakeFinder(COMPLETED), feedback, {"score": 0.25, "source": "judge"})
    assert sent.status == 200
    assert feedback.published == [
        FeedbackGiven(
            feedback_id=f"{REQUEST_ID}-judge",
            request_id=REQUEST_ID,
            tenant=COMPLETED.tenant,
            source="judge",
            score=0.25,
            at=int(START_MS),
        )
    ]
    assert sent.document == {
        "id": f"{REQUEST_ID}-judge",
        "object": "millrace.feedback",
        "request_id": REQUEST_ID,
        "source": "judge",
        "score": 0.25,
        "created_at": int(START_MS),
    }


@pytest.mark.parametrize(
    ("finder", "key", "status"),
    [
        pytest.param(FakeFinder(COMPLETED), OTHER_KEY, 404, id="another_tenant's"),
        pytest.param(FakeFinder(COMPLETED), STRANGER_KEY, 401, id="a_stranger"),
        pytest.param(FakeFinder(), KEY, 404, id="unknown"),
        pytest.param(
            FakeFinder(miss=missed(request=requested(request_id=REQUEST_ID))),
            KEY,
            400,
            id="under_way",
        ),
        pytest.param(
            FakeFinder(finished(request_id=REQUEST_ID, outcome="failed")), KEY, 400, id="failed"
        ),
    ],
)
async def test_only_answers_of_the_own_tenant_are_judged(
    finder: FakeFinder, key: str, status: int
) -> None:
    """Everything else is refused, and nothing is recorded."""
    feedback = FakeFeedback()
    sent = await given_to(finder, feedback, key=key)
    assert (sent.status, feedback.published) == (status, [])


async def test_a_wrong_body_is_refused_before_the_log_is_read() -> None:
    """Looking up costs; reading the body does not."""
    finder, feedback = FakeFinder(COMPLETED), FakeFeedback()
    sent = await given_to(finder, feedback, {"thumb": "sideways"})
    assert (sent.status, sent.error["param"]) == (400, "thumb")
    assert (finder.asked, feedback.published) == ([], [])


async def test_an_opinion_that_cannot_be_recorded_is_not_confirmed() -> None:
    """The caller may say it again; the second one takes the place of the first."""
    feedback = FakeFeedback()
    feedback.is_away = True
    sent = await given_to(FakeFinder(COMPLETED), feedback)
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")


@pytest.mark.parametrize(
    ("document", "score", "source"),
    [
        ({"thumb": "up"}, 1.0, "user"),
        ({"thumb": "down", "source": "user"}, 0.0, "user"),
        ({"score": 0}, 0.0, "user"),
        ({"score": 1, "source": "judge"}, 1.0, "judge"),
        ({"score": 0.5}, 0.5, "user"),
    ],
)
def test_thumbs_and_scores_are_one(document: Any, score: float, source: str) -> None:
    """A thumb is an end of the scale."""
    assert opinion_from(msgspec.json.encode(document)) == Opinion(score=score, source=source)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "json_empty"),
        (b"[]", "body_not_object"),
        (b"{}", "missing_required_parameter"),
        (b'{"score":1,"thumb":"up"}', "missing_required_parameter"),
        (b'{"score":true}', "invalid_value"),
        (b'{"score":"1"}', "invalid_value"),
        (b'{"score":1.5}', "invalid_value"),
        (b'{"score":-0.1}', "invalid_value"),
        (b'{"score":null}', "invalid_value"),
        (b'{"thumb":["up"]}', "json_too_deep"),
        (b'{"thumb":1}', "invalid_value"),
        (b'{"thumb":"up","source":"escalation"}', "invalid_value"),
        (b'{"thumb":"up","note":"x"}', "unknown_parameter"),
        (b'{"thumb":"up","thumb":"down"}', "duplicate_key"),
        (b'{"thumb":"up"' + b" " * MAX_BODY_BYTES + b"}", "body_too_large"),
    ],
)
def test_what_is_no_opinion_is_refused(body: bytes, code: str) -> None:
    """By OpenAI's error object, with a code that says why."""
    opinion = opinion_from(body)
    assert isinstance(opinion, PublicError)
    assert opinion.code == code


@given(st.binary(max_size=64))
def test_no_body_is_too_strange(body: bytes) -> None:
    """It is an opinion with a score in its range, or refused."""
    opinion = opinion_from(body)
    assert isinstance(opinion, PublicError) or 0 <= opinion.score <= 1
