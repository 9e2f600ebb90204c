"""Text completions of several requests in one call, and what becomes of it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.answers import Malformed, ProviderError
from services.model_caller.completions import completion_key, merged_prompts, split_choices
from services.shared.domain.events import InferenceRequested, RequestRouted
from services.shared.domain.money import Usage
from tests.support.example_events import request_id, requested
from tests.support.scripted_provider import Asked, Script, ScriptedProvider, refused
from tests.unit.model_caller.callers import Caller, member, merged

Prompt = str | list[str] | list[int] | list[list[int]]
PROMPTS = (
    st.text(max_size=4)
    | st.lists(st.text(max_size=4), min_size=1, max_size=4)
    | st.lists(st.integers(0, 9), min_size=1, max_size=3)
    | st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=3)
)
USAGE = {"prompt_tokens": 41, "completion_tokens": 17, "total_tokens": 58}


def body(prompt: Prompt | None, **fields: Any) -> bytes:
    """A body."""
    given_fields = {} if prompt is None else {"prompt": prompt}
    return json.dumps({"model": "c", **given_fields, **fields}).encode()


def asking(
    prompt: Prompt, *, number: int = 1, tokens: int = 5, **fields: Any
) -> InferenceRequested:
    """A request for a completion."""
    return requested(
        number,
        operation="text_completion",
        body=body(prompt, **fields),
        estimated_input_tokens=tokens,
    )


def listed(prompt: Prompt) -> list[Any]:
    """The prompts of a request."""
    return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else list(prompt)


def upstream(sent: bytes, **changes: Any) -> bytes:
    """A provider that repeats each prompt as JSON, with its number; in reversed order."""
    fields = json.loads(sent)
    prompts = [one for one in listed(fields["prompt"]) for _ in range(fields.get("n", 1))]
    choices = [
        {"index": i, "text": f"{json.dumps(one)}{i % fields.get('n', 1)}", "finish_reason": "stop"}
        for i, one in enumerate(prompts)
    ]
    answer = {"id": "up", "object": "text_completion", "model": "up", "choices": choices[::-1]}
    return msgspec.json.encode({**answer, "usage": USAGE, **changes})


@given(st.lists(PROMPTS, min_size=2, max_size=5), st.integers(1, 3))
def test_every_member_gets_the_choices_of_its_own_prompts(
    prompts: list[Prompt], choices: int
) -> None:
    """In its order and under its indexes; the usage adds up to the provider's."""
    requests = [asking(prompt, number=i, tokens=i, n=choices) for i, prompt in enumerate(prompts)]
    call = merged_prompts([request.body for request in requests])
    answers = split_choices(call, requests, upstream(call.body))
    for prompt, request, answer in zip(prompts, requests, answers, strict=True):
        document = json.loads(answer.response)
        assert [choice["text"] for choice in document["choices"]] == [
            f"{json.dumps(one)}{j}" for one in listed(prompt) for j in range(choices)
        ]
        assert [it["index"] for it in document["choices"]] == list(range(len(document["choices"])))
        assert document["usage"]["prompt_tokens"] == answer.usage.input_tokens
        assert document["id"] == f"cmpl-{request.request_id.removeprefix('req_')}"
        assert (answer.response_model, answer.finish_reason) == ("up", "stop")
    assert sum(answer.usage.input_tokens for answer in answers) == USAGE["prompt_tokens"]
    assert sum(answer.usage.output_tokens for answer in answers) == USAGE["completion_tokens"]


def test_equal_prompts_are_samples_of_their_own() -> None:
    """Two callers who ask the same do not get the same sample."""
    call = merged_prompts([body("a"), body(["a", "b"], user="u")])
    assert json.loads(call.body) == {"model": "c", "prompt": ["a", "a", "b"]}
    assert call.counts == (1, 2)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (body("a"), body(["b"]), True),
        (body("a", user="u"), body("a", user="v"), True),
        (body("a", max_tokens=1), body("a", max_tokens=2), False),
        (body("a", temperature=0), body("a"), False),
        (body("a", metadata={"k": "v"}), body("a"), False),
    ],
)
def test_only_what_differs_in_prompts_shares_a_call(
    one: bytes, other: bytes, *, is_same: bool
) -> None:
    """Every other field of the body is in the key, known or not; the user alone is not."""
    assert (completion_key(one) == completion_key(other)) is is_same


@pytest.mark.parametrize("one", [body(None), b'{"model":"c","prompt":null}'])
def test_a_request_without_a_prompt_is_called_by_itself(one: bytes) -> None:
    """No array can say that a document begins anew."""
    assert completion_key(one) is None


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_usage_that_nobody_can_believe_is_estimated(usage: Any) -> None:
    """Each member by its own prompt and its own text."""
    requests = [asking("a", tokens=7), asking("bcdefg", number=2, tokens=9)]
    call = merged_prompts([request.body for request in requests])
    answers = split_choices(call, requests, upstream(call.body, usage=usage))
    assert [answer.usage for answer in answers] == [
        Usage(input_tokens=7, output_tokens=1, is_estimated=True),
        Usage(input_tokens=9, output_tokens=3, is_estimated=True),
    ]


def test_tokens_by_kind_are_shared_out_too() -> None:
    """Those from the prompt cache and those of hidden reasoning."""
    requests = [asking("a", tokens=1), asking("b", number=2, tokens=3)]
    call = merged_prompts([request.body for request in requests])
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    answers = split_choices(call, requests, upstream(call.body, usage=usage))
    assert sum(answer.usage.cached_input_tokens for answer in answers) == 20
    assert sum(answer.usage.reasoning_output_tokens for answer in answers) == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"no",
        b"[]",
        b'{"choices":[]}',
        b'{"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":0,"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":[],"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":1}]}',
    ],
)
def test_half_an_answer_is_none(answer: bytes) -> None:
    """Every prompt has its choices, and each says why it ended."""
    requests = [asking("a"), asking("b", number=2)]
    with pytest.raises(Malformed):
        split_choices(merged_prompts([it.body for it in requests]), requests, answer)


def test_an_error_in_the_place_of_an_answer_is_told() -> None:
    """Status 200 says nothing."""
    requests = [asking("a"), asking("b", number=2)]
    with pytest.raises(ProviderError):
        split_choices(
            merged_prompts([it.body for it in requests]), requests, b'{"error":{"code":"c"}}'
        )


def test_an_answer_that_no_record_holds_is_refused() -> None:
    """One member's text is too large."""
    requests = [asking("a"), asking("b", number=2)]
    call = merged_prompts([it.body for it in requests])
    choice = {"text": "x" * (5 * 1024 * 1024), "finish_reason": "stop"}
    answer = msgspec.json.encode(
        {"choices": [{**choice, "index": 0}, {**choice, "index": 1, "text": "y"}]}
    )
    with pytest.raises(Malformed):
        split_choices(call, requests, answer)


def completion(number: int, prompt: Prompt, **fields: Any) -> RequestRouted:
    """A request on its way."""
    return member(number, operation="text_completion", body=body(prompt, **fields))


def completed(asked: Asked) -> Script:
    """The provider above, over HTTP."""
    return Script(
        headers={"content-type": "application/json"},
        frames=(upstream(json.dumps(asked.body).encode()),),
    )


async def test_one_call_serves_the_whole_batch() -> None:
    """What it cost is shared out to the token."""
    provider = ScriptedProvider(completed)
    members = [completion(i, f"p{i}") for i in range(1, 5)]
    served = await Caller({"first": provider}).serve(merged(*members))
    (asked,) = provider.asked
    assert asked.path == "/completions"
    assert asked.body["prompt"] == ["p1", "p2", "p3", "p4"]
    for i in range(1, 5):
        document = json.loads(served.of(request_id(i)).response)
        assert [choice["text"] for choice in document["choices"]] == [f'"p{i}"0']
    assert sum(row.usage.output_tokens for row in served.rows) == USAGE["completion_tokens"]
    assert sum(it.cost_nanousd for it in served.finished) == 41 * 1_000 + 17 * 2_000


async def test_one_bad_member_fails_alone() -> None:
    """The batch is halved until the bad one is alone."""

    def play(asked: Asked) -> Script:
        if "bad" in listed(asked.body["prompt"]):
            return refused(400, message="Bad prompt.")
        return completed(asked)

    provider = ScriptedProvider(play)
    members = [completion(i, "bad" if i == 3 else f"p{i}") for i in range(8)]
    served = await Caller({"first": provider}).serve(merged(*members))
    bad = served.of(request_id(3))
    assert bad.error is not None
    assert bad.error.message == "Bad prompt."
    assert {it.outcome for it in served.finished if it is not bad} == {"completed"}
    assert len(provider.asked) == 1 + 2 * 3


async def test_what_is_not_alike_is_not_asked_for_together() -> None:
    """Other parameters, or no prompt at all, make a call of their own."""
    provider = ScriptedProvider(completed)
    members = [
        completion(1, "a"),
        completion(2, "b", max_tokens=3),
        completion(3, "c"),
        completion(4, ["d"], user="u"),
    ]
    served = await Caller({"first": provider}).serve(merged(*members))
    prompts = sorted((it.body["prompt"] for it in provider.asked), key=str)
    assert prompts == [["a", "c", "d"], "b"]
    assert {it.outcome for it in served.finished} == {"completed"}
