"""The load generator counts and times rightly, against a simulator whose delays are known."""

from collections.abc import Iterator

import msgspec
import psutil
import pytest

from tests.load.bench import Generator
from tests.load.plan import ClosedLoop, OpenLoop, Operation, Outcome, Plan
from tests.load.relay import running_relay
from tests.load.requests import supply_of
from tests.load.stack import Target
from tests.support.simulator import SimulatorProcess, simulator

pytestmark = pytest.mark.e2e

OVERHEAD_MS = 40.0
"""What two processes on a busy machine may add to a delay."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorProcess]:
    """A simulator that the tests of this module share."""
    with simulator() as process:
        yield process


def outcome_of(upstream: SimulatorProcess, plan: Plan) -> Outcome:
    """Run a plan in a generator process."""
    return Generator(msgspec.structs.replace(plan, url=f"{upstream.url}/v1")).run()


def test_a_closed_loop_counts_what_the_server_saw(upstream: SimulatorProcess) -> None:
    """Rate, percentiles and counts follow from the number of clients and the known delay."""
    before = upstream.calls()[-1:]
    plan = Plan(model="sim-fast:delay=100ms", arrivals=ClosedLoop(8), duration_s=1.0)

    outcome = outcome_of(upstream, plan)

    seen = upstream.calls(after=before[0]["id"] if before else 0, model=plan.model)
    assert outcome.errors == {}
    assert outcome.sent == outcome.answered == outcome.latency.count == len(seen)
    assert outcome.connections == 8
    assert 100 <= outcome.latency.p50_ms <= 100 + OVERHEAD_MS
    assert outcome.latency.p50_ms <= outcome.latency.p99_ms <= outcome.latency.max_ms
    # Each client is served 1 s / delay times, less what the last round does beyond the window.
    assert 8 * (1000 // (100 + OVERHEAD_MS) - 1) <= outcome.in_window <= 80
    assert outcome.in_window <= outcome.answered <= outcome.in_window + 8


def test_the_bare_relay_hands_on(upstream: SimulatorProcess) -> None:
    """What it is asked comes to the upstream, and the answers are right."""
    model = "sim-fast:tokens=7"
    plan = Plan(model=model, arrivals=ClosedLoop(2), duration_s=5.0, most_requests=10)
    simulated = Target(name="direct", url=f"{upstream.url}/v1", key="any")

    with running_relay(simulated) as (target, pid):
        outcome = Generator(msgspec.structs.replace(plan, url=target.url, key=target.key)).run()
        assert psutil.pid_exists(pid)

    assert outcome.errors == {}
    assert outcome.answered == len(upstream.calls(model=model)) == 10


def test_an_open_loop_counts_waiting_from_the_intended_start(upstream: SimulatorProcess) -> None:
    """A server that serves one call at a time makes later ones wait, and their latency says so."""
    plan = Plan(
        model="sim-fast:delay=50ms:parallel=1",
        arrivals=OpenLoop(40, is_poisson=False),
        duration_s=0.99,
    )

    outcome = outcome_of(upstream, plan)

    assert outcome.errors == {}
    assert outcome.sent == outcome.answered == 40, "arrivals do not wait for answers"
    last_ms = 40 * 50 - 39 * 25  # served one after another, begun 25 ms apart
    assert last_ms <= outcome.latency.max_ms <= last_ms + 10 * OVERHEAD_MS
    assert outcome.latency.p50_ms == pytest.approx(50 + last_ms / 2, rel=0.2)


def test_a_streams_first_token_and_gaps_are_told_apart(upstream: SimulatorProcess) -> None:
    """Time to the first token, time between tokens and number of tokens are the model's."""
    model = "sim-fast:ttft=200ms:spread=0:tps=25:tokens=10"
    plan = Plan(model=model, stream=True, arrivals=ClosedLoop(4), duration_s=0.5)

    outcome = outcome_of(upstream, plan)

    assert outcome.errors == {}
    assert outcome.answered == 4
    assert outcome.events == 40
    assert outcome.token_gap.count == 36
    assert 200 <= outcome.first_token.p50_ms <= 200 + OVERHEAD_MS
    assert outcome.token_gap.p50_ms == pytest.approx(40, abs=10)
    assert 560 - 10 <= outcome.latency.p50_ms <= 560 + OVERHEAD_MS


@pytest.mark.parametrize(
    ("model", "stream", "kind"),
    [
        pytest.param("sim-fast:fail=503", False, "503 server_is_overloaded", id="refused"),
        pytest.param("sim-fast:cut=5", True, "connection lost", id="cut"),
        pytest.param("sim-fast:eof=5", True, "no finish_reason", id="ended_early"),
        pytest.param("sim-fast:badjson=3", True, "wrong chunk", id="half_a_chunk"),
        pytest.param("sim-fast:badjson=3", False, "not JSON", id="half_a_body"),
        pytest.param("sim-fast:no-usage", True, "no usage", id="no_usage"),
        pytest.param("sim-fast:after-end", True, "choice after finish_reason", id="after_end"),
        pytest.param("sim-fast:content-filter=3", False, "wrong shape", id="filtered"),
        pytest.param("sim-fast:hang=3", True, "timeout", id="silent"),
        pytest.param("no-such-model", False, "404 model_not_found", id="no_model"),
    ],
)
def test_a_wrong_answer_is_an_error_of_its_kind(
    upstream: SimulatorProcess, model: str, kind: str, *, stream: bool
) -> None:
    """Every way to answer wrongly is noticed, counted by kind, and never counted as an answer."""
    plan = Plan(
        model=model,
        stream=stream,
        arrivals=OpenLoop(20, is_poisson=False),
        duration_s=0.2,
        most_requests=2,
        timeout_s=0.5,
    )

    outcome = outcome_of(upstream, plan)

    assert outcome.errors == {kind: 2}
    assert outcome.answered == 0
    assert len(outcome.examples) == 2


def test_requests_are_all_different_or_repeat_as_told() -> None:
    """Nothing can be answered from a cache but what the plan repeats, and seeds are kept."""
    plan = Plan(model="sim-fast", arrivals=ClosedLoop(1), duration_s=1)

    bodies = _bodies(plan, 1500)

    assert len(set(bodies)) == 1500
    assert _bodies(plan, 1500) == bodies
    other_run = msgspec.structs.replace(plan, salt="00000001")
    assert not set(_bodies(other_run, 1500)) & set(bodies)
    repeating = msgspec.structs.replace(plan, distinct=3)
    assert _bodies(repeating, 9) == bodies[:3] * 3


def test_prompts_are_as_long_and_as_different_as_those_of_applications() -> None:
    """Lengths spread around a kilobyte; system prompts and conversations occur, but not always."""
    plan = Plan(model="sim-fast", arrivals=ClosedLoop(1), duration_s=1)
    prompts = [msgspec.json.decode(body) for body in _bodies(plan, 512)]
    lengths = sorted(sum(len(m["content"].encode()) for m in p["messages"]) for p in prompts)
    assert 700 <= lengths[256] <= 1500
    assert lengths[-5] > 5 * lengths[256] / 2
    with_system = sum(p["messages"][0]["role"] == "system" for p in prompts)
    assert 300 <= with_system <= 420
    assert 100 <= sum(len(p["messages"]) > 3 for p in prompts) <= 400


def test_questions_are_all_different_and_differ_in_their_text_alone() -> None:
    """So that a cache may compare each with all the others."""
    plan = Plan(
        model="sim-fast",
        arrivals=ClosedLoop(1),
        duration_s=1,
        questions=True,
        cache_control="no-semantic",
    )
    bodies = _bodies(plan, 1000)
    assert len(set(bodies)) == 1000
    assert _bodies(plan, 1000) == bodies
    decoded = [msgspec.json.decode(body) for body in bodies]
    texts = {body["messages"].pop()["content"] for body in decoded}
    assert len(texts) == 1000
    assert all(body == decoded[0] for body in decoded)
    head, _, _ = supply_of(plan).next().partition(b"\r\n\r\n")
    assert b"\r\nCache-Control: no-semantic\r\n" in head


def _bodies(plan: Plan, count: int) -> list[bytes]:
    """The bodies of the first requests, as long as their heads say."""
    requests = supply_of(plan)
    bodies = []
    for _ in range(count):
        head, _, body = requests.next().partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        bodies.append(body)
    return bodies


def test_embeddings_are_asked_for_as_openai_s_client_does(upstream: SimulatorProcess) -> None:
    """A call has one input and a right answer."""
    plan = Plan(
        model="sim-embed",
        operation=Operation.EMBEDDINGS,
        arrivals=ClosedLoop(2),
        duration_s=5,
        most_requests=20,
    )
    outcome = outcome_of(upstream, plan)
    assert (outcome.answered, outcome.errors) == (20, {})
    assert outcome.took_s < plan.duration_s, "a run ends when its requests are used up"
