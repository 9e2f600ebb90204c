"""Why the semantic tier answers a question as it does. Reads only; nothing is changed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from services.cache_lookup.semantic.decide import Choice, choose
from services.cache_lookup.semantic.question import NotComparable, Question, question_of
from services.cache_lookup.similar.decide import least_similarity
from services.cache_lookup.verified.controller import Controller
from services.cli.cache.trust import Trust, trust_document, trust_of, verdict_of
from services.cli.tables import age, print_table, say
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.domain.configuration import Configuration
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.events import (
    AnswerCached,
    CacheEvidence,
    CachePolicy,
    InferenceFinished,
    InferenceRequested,
    Operation,
    SemanticKey,
)
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.ports.encoder import Encoder
from services.shared.ports.semantic_index import Near

_CANDIDATES = 5


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is explained.

    Attributes:
        tenant: Who asks.
        model: Alias that is asked.
        question: The question as it is compared, or why it is not.
        policy: What the caller let the cache do.
        told: What the look-up found when it was asked; None = it was not asked yet.
        request_id: The request; empty = it was not asked yet.
    """

    tenant: str
    model: str
    question: Question | NotComparable
    policy: CachePolicy = CachePolicy()
    told: CacheEvidence | None = None
    request_id: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a question is answered as it is, as of now.

    Attributes:
        asked: What is explained.
        mode: Mode of its alias.
        threshold: Least similarity for it.
        nears: The nearest entries of its scope.
        choice: What follows; None = it is not compared.
        in_scope: Entries of its scope.
        of_tenant: Entries of the tenant and alias, whatever their scope.
        trust: What the tenant's controller says to the chosen one; None = it is not asked.
        verdict: The answer, in a sentence or two.
    """

    asked: Asked
    mode: str
    threshold: float
    nears: Sequence[Near] = ()
    choice: Choice | None = None
    in_scope: int = 0
    of_tenant: int = 0
    trust: Trust | None = None
    verdict: str = ""


def asked_of_text(text: str, *, tenant: str, model: str, system: str, encoder: str) -> Asked:
    """A text as its tenant would ask it, in a chat without any settings."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    request = InferenceRequested(
        request_id="explained",
        operation=Operation.CHAT.value,
        body=msgspec.json.encode({"model": model, "messages": messages}),
        tenant=tenant,
        model=model,
    )
    question = question_of(request, encoder=encoder, model=model)
    return Asked(tenant=tenant, model=model, question=question)


def asked_of_request(finished: InferenceFinished) -> Asked:
    """A request as the look-up compared it."""
    key = finished.cache.semantic
    question: Question | NotComparable = NotComparable("the look-up did not compare it")
    if key is not None:
        question = Question(key.scope, key.text, key.quotes)
    return Asked(
        tenant=finished.tenant,
        model=finished.model,
        question=question,
        policy=finished.cache_policy,
        told=finished.cache,
        request_id=finished.request_id,
    )


async def explain(  # noqa: PLR0913  # named, all of one question
    asked: Asked,
    entries: Mapping[str, AnswerCached],
    *,
    configuration: Configuration,
    encoder: Encoder,
    controller: Controller | None,
    now_ms: float,
) -> Explanation:
    """Find the candidates of a question, and judge them as the look-up does.

    Args:
        asked: The question.
        entries: All entries of the cache, by id.
        configuration: The configuration.
        encoder: The look-ups' encoder.
        controller: The tenant's, in the mode ``verified``; None = nothing was judged of him yet.
        now_ms: Unix ms.

    Raises:
        Unavailable: The encoder does not answer.
    """
    mode = SemanticModes(configuration).of(asked.model)
    policy = configuration.cache.semantic
    threshold = least_similarity(policy, mode, asked.policy)
    explained = Explanation(
        asked=asked,
        mode=mode.value,
        threshold=threshold,
        of_tenant=sum(
            (it.tenant, it.model) == (asked.tenant, asked.model) for it in entries.values()
        ),
    )
    question = asked.question
    if isinstance(question, NotComparable):
        verdict = f"It is answered by its exact repetition alone: {question.reason}."
        return msgspec.structs.replace(explained, verdict=verdict)
    if not encoder.knows(question.text):
        verdict = "It is answered by its exact repetition alone: the encoder does not know it."
        return msgspec.structs.replace(explained, verdict=verdict)
    scoped = [
        it
        for it in entries.values()
        if it.semantic is not None
        and it.semantic.scope == question.scope
        and it.entry_id != asked.request_id
    ]
    nears = await _nearest(question, scoped, encoder, now_ms)
    choice = choose(question.text, nears, threshold=threshold, use_verifier=policy.use_verifier)
    trust = None
    if choice.near is not None and mode is SemanticMode.VERIFIED:
        entry_id = choice.near.entry.entry_id
        trust = trust_of(controller, tenant=asked.tenant, entry_id=entry_id, score=choice.score)
    return msgspec.structs.replace(
        explained,
        nears=nears,
        choice=choice,
        in_scope=len(scoped),
        trust=trust,
        verdict=_verdict(choice, mode, threshold, len(scoped), trust),
    )


async def _nearest(
    question: Question, scoped: Sequence[AnswerCached], encoder: Encoder, now_ms: float
) -> Sequence[Near]:
    index = NumpySemanticIndex(max_entries=len(scoped) + 1, most_entries=len(scoped) + 1)
    await index.put(scoped)
    (vector,) = np.asarray(await encoder.encode([question.text]))
    key = SemanticKey(
        scope=question.scope,
        encoder=encoder.build,
        text=question.text,
        vector=vector.astype("<f2").tobytes(),
    )
    (nears,) = await index.nearest([key], most=_CANDIDATES, now_ms=now_ms)
    return nears


def _verdict(
    choice: Choice, mode: SemanticMode, threshold: float, in_scope: int, trust: Trust | None
) -> str:
    if choice.near is not None:
        served = f"the answer of {choice.near.entry.entry_id}, at {choice.score:.4f}"
        if mode is SemanticMode.OFF:
            return f"The semantic tier is off for this alias; it would serve {served}."
        if trust is not None:
            return verdict_of(trust, served=served, score=choice.score)
        return f"Served is {served}, while its body is there and no older than the caller allows."
    if not in_scope:
        return (
            "A miss: no entry has the same tenant, namespace, alias, system prompt, settings, "
            "earlier turns and encoder."
        )
    if choice.candidate is None or choice.score <= 0:
        return "A miss: guards object to all that is near."
    return f"A miss: the best is at {choice.score:.4f}, and {threshold:.4f} is needed."


def print_explanation(console: Console, it: Explanation, *, now_ms: float) -> None:
    """The explanation for people."""
    rows = [("tenant", it.asked.tenant), ("model", it.asked.model)]
    question = it.asked.question
    if isinstance(question, Question):
        rows += [("question", question.text), ("scope", question.scope)]
    rows += [("mode", it.mode), ("threshold", f"{it.threshold:.4f}")]
    rows.append(("entries", f"{it.in_scope} in the scope, {it.of_tenant} of tenant and model"))
    if (told := it.asked.told) is not None:
        source = told.source_request_id or told.candidate_id
        rows.append(("was told", f"{told.outcome} {source} at {told.similarity:.4f}".rstrip()))
    print_table(console, ("what", ""), rows)
    say(console, "")
    if it.nears:
        objections = dict(it.choice.objections) if it.choice else {}
        print_table(
            console,
            ("candidate", "similarity", "guard", "age", "question"),
            [
                (
                    near.entry.entry_id,
                    f"{near.similarity:.4f}",
                    objections.get(near.entry.entry_id, "-"),
                    age((now_ms - near.entry.stored_at) / 1000),
                    near.entry.semantic.text if near.entry.semantic else "",
                )
                for near in it.nears
            ],
            right=frozenset({"similarity", "age"}),
        )
        say(console, "")
    say(console, it.verdict)


def document(it: Explanation) -> dict[str, Any]:
    """The explanation for programs."""
    question, told = it.asked.question, it.asked.told
    objections = dict(it.choice.objections) if it.choice else {}
    chosen = it.choice.near if it.choice else None
    is_served = it.trust is None or it.trust.serves
    return {
        "request_id": it.asked.request_id or None,
        "tenant": it.asked.tenant,
        "model": it.asked.model,
        "question": question.text if isinstance(question, Question) else None,
        "scope": question.scope if isinstance(question, Question) else None,
        "mode": it.mode,
        "threshold": it.threshold,
        "entries_in_scope": it.in_scope,
        "entries_of_tenant_and_model": it.of_tenant,
        "was_told": None
        if told is None
        else {
            "outcome": told.outcome,
            "candidate_id": told.candidate_id or None,
            "source_request_id": told.source_request_id or None,
            "similarity": told.similarity,
            "score": told.score,
        },
        "candidates": [
            {
                "id": near.entry.entry_id,
                "similarity": near.similarity,
                "guard": objections.get(near.entry.entry_id),
                "question": near.entry.semantic.text if near.entry.semantic else None,
            }
            for near in it.nears
        ],
        "score": it.choice.score if it.choice else 0.0,
        "controller": None if it.trust is None else trust_document(it.trust),
        "served": chosen.entry.entry_id if chosen is not None and is_served else None,
        "verdict": it.verdict,
    }


def explain_now(*args: Any, **kwargs: Any) -> Explanation:
    """``explain`` for callers without a loop."""
    return asyncio.run(explain(*args, **kwargs))
