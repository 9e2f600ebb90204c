"""``GET /v1/requests/{id}`` and cancelling."""

import pytest

from services.gateway.asgi import Request
from services.gateway.own_requests import OwnRequests
from services.gateway.requests_api import RequestsApi
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import Failure, InferenceFinished
from tests.support.example_events import finished, missed, requested
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.gateway_desk import (
    KEY,
    OTHER_KEY,
    REQUEST_ID,
    STRANGER_KEY,
    FakeControls,
    FakeFinder,
    FakePublisher,
    Sent,
    desk_of,
    http_request,
)


class AbsentFinder:
    """A log that does not answer."""

    async def find_terminal(self, _request_id: str) -> InferenceFinished | None:
        """Does not answer."""
        raise Unavailable("kafka", "the test says so")

    find_miss = find_terminal


def get(request_id: str = REQUEST_ID, *, key: str = KEY) -> Request:
    """A request for the state of a request."""
    request = http_request(
        f"/v1/requests/{request_id}", method="GET", headers={"authorization": f"Bearer {key}"}
    )
    request.parameters = (request_id,)
    return request


async def answered(finder: FakeFinder | AbsentFinder, request: Request | None = None) -> Sent:
    """What is answered."""
    sent = Sent()
    own = OwnRequests(finder)  # type: ignore[arg-type]  # an alias of a method
    api = RequestsApi(desk_of(FakeClock(), FakePublisher()), own)
    await api.get(request or get(), sent)
    assert sent.headers["x-request-id"]
    return sent


COMPLETED = finished(request_id=REQUEST_ID)
UNDER_WAY = missed(request=requested(request_id=REQUEST_ID))


async def test_a_completed_request_shows_its_answer() -> None:
    """State, usage, times, and the answer as JSON inside the JSON."""
    sent = await answered(FakeFinder(COMPLETED, UNDER_WAY))
    assert sent.status == 200
    document = sent.document
    assert document["id"] == REQUEST_ID
    assert (document["status"], document["response"]) == ("completed", {"choices": []})
    assert document["usage"]["output_tokens"] == 12
    assert document["error"] is None


async def test_a_failed_request_shows_its_error() -> None:
    """There is no answer then."""
    failure = Failure(code="provider_error", message="It failed.", status=502, fault="provider")
    terminal = finished(request_id=REQUEST_ID, outcome="failed", response=b"", error=failure)
    document = (await answered(FakeFinder(terminal))).document
    assert (document["status"], document["response"]) == ("failed", None)
    assert document["error"]["code"] == "provider_error"


async def test_a_request_under_way_is_in_progress() -> None:
    """Until its terminal record is there."""
    sent = await answered(FakeFinder(miss=UNDER_WAY))
    assert sent.document == {
        "id": REQUEST_ID,
        "object": "millrace.request",
        "status": "in_progress",
        "model": "small",
        "accepted_at": int(START_MS),
        "deadline_at": int(START_MS) + 60_000,
    }


async def test_others_requests_look_like_requests_that_never_were() -> None:
    """Finished, under way or unknown: the same status and the same body."""
    answers = {
        (sent.status, sent.body)
        for sent in [
            await answered(FakeFinder(COMPLETED, UNDER_WAY), get(key=OTHER_KEY)),
            await answered(FakeFinder(miss=UNDER_WAY), get(key=OTHER_KEY)),
            await answered(FakeFinder(), get()),
            await answered(FakeFinder(), get("nonsense")),
        ]
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404


@pytest.mark.parametrize(
    "request_id",
    ["../../x", "\0", "*", "x" * 256, REQUEST_ID.upper(), REQUEST_ID + "0", "cli-0123456789"],
)
async def test_an_id_that_is_none_is_not_looked_up(request_id: str) -> None:
    """Only ids of our own form tell where to look."""
    finder = FakeFinder(COMPLETED)
    assert (await answered(finder, get(request_id))).status == 404
    assert finder.asked == []


async def test_nobody_asks_without_a_key() -> None:
    """Whether the request exists is not told."""
    finder = FakeFinder(COMPLETED)
    assert (await answered(finder, get(key=STRANGER_KEY))).status == 401
    assert finder.asked == []


async def test_a_log_that_is_away_is_said() -> None:
    """503 with a hint, not 404."""
    sent = await answered(AbsentFinder())
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
    assert sent.headers["retry-after"] == "2"


async def cancelled(finder: FakeFinder, controls: FakeControls, *, key: str = KEY) -> Sent:
    """What is answered to whoever wants a request to end."""
    sent = Sent()
    desk = desk_of(FakeClock(), FakePublisher(), controls=controls)
    await RequestsApi(desk, OwnRequests(finder)).cancel(get(key=key), sent)
    return sent


async def test_a_request_under_way_is_asked_to_end() -> None:
    """202: it is recorded that it should, and its state said."""
    controls = FakeControls()
    sent = await cancelled(FakeFinder(miss=UNDER_WAY), controls)
    assert (sent.status, sent.document["status"]) == (202, "in_progress")
    (control,) = controls.published
    assert (control.request_id, control.tenant) == (REQUEST_ID, "acme")
    assert (control.action, control.reason, control.at) == ("cancel", "asked", int(START_MS))


async def test_a_request_that_has_ended_is_not_ended_again() -> None:
    """200: nothing is recorded, and it is said how it ended."""
    controls = FakeControls()
    sent = await cancelled(FakeFinder(COMPLETED, UNDER_WAY), controls)
    assert (sent.status, sent.document["status"]) == (200, "completed")
    assert controls.published == []


@pytest.mark.parametrize(("key", "status"), [(OTHER_KEY, 404), (STRANGER_KEY, 401)])
async def test_nobody_ends_what_is_not_his(key: str, status: int) -> None:
    """It looks as if it were not there."""
    controls = FakeControls()
    sent = await cancelled(FakeFinder(miss=UNDER_WAY), controls, key=key)
    assert (sent.status, controls.published) == (status, [])


async def test_a_cancellation_that_cannot_be_recorded_is_not_confirmed() -> None:
    """503, to be tried again."""
    controls = FakeControls()
    controls.is_away = True
    sent = await cancelled(FakeFinder(miss=UNDER_WAY), controls)
    assert (sent.status, sent.error["code"]) == (503, "upstream_unavailable")
