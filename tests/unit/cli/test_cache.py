"""``millrace cache purge|rollback|explain`` on a log and a cache in memory."""

import json
from typing import Any

import click
import msgspec
import pytest

from services.cache_lookup.semantic.question import Question
from services.cache_lookup.verified.controller import Controller
from services.cli.cache.decide import Selection, selected
from services.cli.cache.explaining import (
    Asked,
    Explanation,
    asked_of_request,
    asked_of_text,
    document,
    explain,
    print_explanation,
)
from services.cli.cache.purging import run_purge
from services.cli.cache.trust import trust_of, verdict_of
from services.cli.errors import CommandError
from services.cli.manner import Manner
from services.model_caller.vectors import Vector, value_of_vector
from services.shared.domain.configuration import Cache, Configuration, Model, ModelTarget
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import AnswerCached, CacheEvidence, SemanticKey
from services.shared.domain.kept_vectors import PREFIX, prefix_of
from services.shared.domain.topics import Topic
from tests.support.example_events import finished
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.fake_encoder import FakeEncoder
from tests.support.memory_cache import MemoryCache
from tests.support.memory_entries import CacheDesk
from tests.support.memory_log import MemoryCluster
from tests.support.semantic_entries import direction, entry_of, key_of

_YES = Manner(yes=True)
_NOW_MS = START_MS + 60_000


@pytest.fixture
def table() -> CacheDesk:
    """An empty cache."""
    cluster = MemoryCluster(FakeClock(), topics={Topic.CACHE_ENTRIES: 1})
    return CacheDesk(cluster, MemoryCache(), now_ms=_NOW_MS)


def named(number: int) -> str:
    """An entry's id."""
    return entry_of(number).entry_id


def quoting(number: int, *ancestors: int, **changes: Any) -> AnswerCached:
    """An entry whose request quotes the answers of others."""
    quotes = tuple(entry_of(it).answer_hash for it in ancestors)
    return entry_of(number, semantic=key_of(direction(number), quotes=quotes), **changes)


def left(table: CacheDesk) -> list[str]:
    """Entries that are held, whose answers are all there."""
    held = table.log.held()
    assert {it.entry.fingerprint for it in held.values()} <= set(table.cache.entries)
    return sorted(held)


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        pytest.param(Selection(ids=frozenset({named(2), "unknown"})), [2], id="ids"),
        pytest.param(Selection(scope="scope-b"), [3], id="scope"),
        pytest.param(Selection(scope="scope-"), [1, 2, 3], id="beginning_of_a_scope"),
        pytest.param(Selection(tenant="other"), [4], id="tenant"),
        pytest.param(Selection(since_ms=int(START_MS) + 3), [3, 4], id="since"),
        pytest.param(Selection(until_ms=int(START_MS) + 3), [1, 2], id="until"),
        pytest.param(
            Selection(since_ms=int(START_MS) + 2, until_ms=int(START_MS) + 4, tenant="acme"),
            [2, 3],
            id="all_of_it",
        ),
    ],
)
def test_which_entries_are_meant(selection: Selection, numbers: list[int]) -> None:
    """Those that fit all that is said."""
    entries = [
        entry_of(1),
        entry_of(2),
        entry_of(3, scope="scope-b"),
        entry_of(4, tenant="other", semantic=None),
    ]
    chosen = selected({it.entry_id: it for it in entries}, selection)
    assert sorted(chosen) == [named(it) for it in numbers]


def test_descendants_are_found_through_any_number_of_turns() -> None:
    """Also in circles; never those of another tenant, nor by an answer without a text."""
    entries = [
        quoting(1, 3),
        quoting(2, 1),
        quoting(3, 2),
        quoting(4, 9),
        quoting(5, 1, tenant="other"),
        entry_of(6, answer_hash=""),
        entry_of(7, semantic=key_of(direction(7), quotes=("",))),
    ]
    by_id = {it.entry_id: it for it in entries}
    selection = Selection(ids=frozenset({named(1), named(6)}), descendants=True)
    assert selected(by_id, selection) == {
        named(1): "",
        named(6): "",
        named(2): named(1),
        named(3): named(2),
    }


def test_a_purge_deletes_answers_and_writes_tombstones(table: CacheDesk) -> None:
    """Of what is meant, and says so."""
    for number in (1, 2, 3):
        table.admit(entry_of(number))
    assert run_purge(table.desk, Selection(ids=frozenset({named(1), named(2)})), _YES)
    assert left(table) == [named(3)]
    assert list(table.cache.entries) == [entry_of(3).fingerprint]
    printed = table.printed()
    assert f"{named(1)}\tacme\tsmall\t59s\tis meant" in printed
    assert "2 entries purged; 2 answers deleted from Redis." in printed


def test_a_dry_run_changes_nothing(table: CacheDesk) -> None:
    """It says what would be done."""
    table.admit(entry_of(1))
    manner = Manner(dry_run=True)
    assert run_purge(table.desk, Selection(tenant="acme"), manner)
    assert left(table) == [named(1)]
    assert "1 entry would be purged; 1 answer would be deleted" in table.printed()


def test_an_id_that_is_no_entry_is_said(table: CacheDesk) -> None:
    """The others are purged."""
    table.admit(entry_of(1))
    assert not run_purge(table.desk, Selection(ids=frozenset({named(1), "nobody"})), _YES)
    assert left(table) == []
    assert "nobody: no entry." in table.printed()


@pytest.mark.parametrize("selection", [Selection(), Selection(descendants=True)])
def test_all_there_is_cannot_be_purged_by_mistake(table: CacheDesk, selection: Selection) -> None:
    """Something has to say which ones are meant."""
    with pytest.raises(CommandError, match="Say which"):
        run_purge(table.desk, selection, _YES)


def test_nothing_is_purged_that_nobody_agreed_to(
    table: CacheDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks, unless it is told not to."""
    table.admit(entry_of(1))
    asked: list[str] = []

    def refuse(question: str, **_options: object) -> None:
        asked.append(question)
        raise click.Abort

    monkeypatch.setattr("typer.confirm", refuse)
    with pytest.raises(click.Abort):
        run_purge(table.desk, Selection(tenant="acme"), Manner())
    assert asked == ["1 entries will be purged. Go on?"]
    assert left(table) == [named(1)]


def test_a_newer_answer_to_the_same_question_stays(table: CacheDesk) -> None:
    """The body under a fingerprint belongs to the entry that it names."""
    old, new = entry_of(1), entry_of(2, fingerprint=entry_of(1).fingerprint)
    table.admit(old)
    table.admit(new)
    run_purge(table.desk, Selection(ids=frozenset({named(1)})), _YES)
    assert left(table) == [named(2)]


def test_what_cannot_be_read_is_deleted(table: CacheDesk) -> None:
    """Nobody can be served it."""
    table.admit(entry_of(1))
    table.cache.entries[entry_of(1).fingerprint] = b"spoilt"
    run_purge(table.desk, Selection(ids=frozenset({named(1)})), _YES)
    assert table.cache.entries == {}


def test_a_cut_purge_serves_nothing_and_is_repeated(table: CacheDesk) -> None:
    """Answers go first, so what is left of a purge that failed is harmless."""
    table.admit(entry_of(1))
    table.log.is_cut = True
    with pytest.raises(Unavailable):
        run_purge(table.desk, Selection(tenant="acme"), _YES)
    assert table.cache.entries == {}
    table.log.is_cut = False
    assert run_purge(table.desk, Selection(tenant="acme"), _YES)
    assert table.log.held() == {}
    assert "1 entry purged; 0 answers deleted" in table.printed()


def test_a_redis_that_is_away_purges_nothing(table: CacheDesk) -> None:
    """No tombstone says that something is gone that is not."""
    table.admit(entry_of(1))
    table.cache.is_available = False
    with pytest.raises(Unavailable):
        run_purge(table.desk, Selection(tenant="acme"), _YES)
    assert list(table.log.held()) == [named(1)]


def test_many_entries_are_counted(table: CacheDesk) -> None:
    """By tenant and model; a program gets them all."""
    for number in range(30):
        table.admit(entry_of(number, tenant="acme" if number % 3 else "other"))
    run_purge(table.desk, Selection(since_ms=0), Manner(dry_run=True))
    assert "acme\tsmall\t20" in table.printed()


def test_a_program_gets_the_entries(table: CacheDesk, capsys: pytest.CaptureFixture[str]) -> None:
    """With what each quotes."""
    table.admit(entry_of(1))
    table.admit(quoting(2, 1))
    selection = Selection(ids=frozenset({named(1)}), descendants=True)
    run_purge(table.desk, selection, Manner(yes=True, as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert (told["dry_run"], told["answers_deleted"], told["unknown"]) == (False, 2, [])
    assert [(it["id"], it["quotes"]) for it in told["entries"]] == [
        (named(1), None),
        (named(2), named(1)),
    ]


# -- vectors of single inputs --------------------------------------------------------------------


def vector_of(tenant: str, *, at_ms: float) -> dict[str, bytes]:
    """A vector as a model caller keeps it."""
    vector = Vector(packed=bytes(8), kept_at=int(at_ms), model="m")
    return {f"{prefix_of(tenant)}{int(at_ms)}": value_of_vector(vector)}


@pytest.mark.parametrize(
    ("selection", "stay"),
    [
        pytest.param(Selection(since_ms=int(START_MS) + 2), ["acme 1", "other 1"], id="since"),
        pytest.param(Selection(until_ms=int(START_MS) + 2), ["acme 2", "other 2"], id="until"),
        pytest.param(Selection(tenant="acme"), ["other 1", "other 2"], id="tenant"),
        pytest.param(
            Selection(tenant="acme", since_ms=int(START_MS) + 2),
            ["acme 1", "other 1", "other 2"],
            id="tenant_and_since",
        ),
        pytest.param(Selection(ids=frozenset({named(7)})), ["other 1", "other 2"], id="embeddings"),
        pytest.param(
            Selection(ids=frozenset({named(8)})),
            ["acme 1", "acme 2", "other 1", "other 2"],
            id="another_answer",
        ),
    ],
)
def test_vectors_go_with_what_is_purged(
    table: CacheDesk, selection: Selection, stay: list[str]
) -> None:
    """Those of its time and tenant; with an answer that was put together, all of its tenant."""
    table.admit(entry_of(7, operation="embeddings", semantic=None))
    table.admit(entry_of(8))
    kept = {
        f"{tenant} {number}": vector_of(tenant, at_ms=START_MS + number)
        for tenant in ("acme", "other")
        for number in (1, 2)
    }
    for vector in kept.values():
        table.cache.entries.update(vector)
    run_purge(table.desk, selection, Manner(dry_run=True))
    assert all(vector.items() <= table.cache.entries.items() for vector in kept.values())
    run_purge(table.desk, selection, _YES)
    assert [
        it for it, vector in kept.items() if vector.keys() <= table.cache.entries.keys()
    ] == stay


def test_vectors_are_purged_where_no_entry_is(
    table: CacheDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    """An answer that is not kept may leave vectors; one that cannot be read goes, too."""
    table.cache.entries |= vector_of("acme", at_ms=START_MS + 5)
    table.cache.entries[f"{PREFIX}damaged"] = b"?"
    later = Selection(since_ms=int(START_MS) + 5)
    run_purge(table.desk, later, Manner(yes=True, as_json=True))
    assert json.loads(capsys.readouterr().out)["vectors_deleted"] == 2
    assert table.cache.entries == {}
    table.cache.entries |= vector_of("acme", at_ms=START_MS + 5)
    run_purge(table.desk, later, _YES)
    assert "1 vector of single inputs deleted from Redis." in table.printed()


# -- explain -------------------------------------------------------------------------------------

_ASKED = "How do I reset the password of my mail account?"
_ENCODER = FakeEncoder()


def settings(mode: SemanticMode = SemanticMode.GUARDED) -> Configuration:
    """One alias."""
    return Configuration(
        cache=Cache(semantic=Semantic(mode=mode)),
        models={"small": Model(targets=(ModelTarget(provider="simulator"),))},
    )


def asked(text: str = _ASKED, *, tenant: str = "acme", system: str = "") -> Asked:
    """A text."""
    return asked_of_text(text, tenant=tenant, model="small", system=system, encoder=_ENCODER.build)


async def kept(number: int, text: str, **changes: Any) -> AnswerCached:
    """An entry whose request asked a text."""
    question = asked(text, **changes).question
    assert isinstance(question, Question)
    (vector,) = await _ENCODER.encode([question.text])
    key = SemanticKey(
        scope=question.scope,
        encoder=_ENCODER.build,
        text=question.text,
        vector=vector.astype("<f2").tobytes(),
    )
    return entry_of(number, semantic=key)


async def explained(
    question: Asked,
    *entries: AnswerCached,
    mode: SemanticMode = SemanticMode.GUARDED,
    controller: Controller | None = None,
) -> Explanation:
    """Why it is answered as it is."""
    return await explain(
        question,
        {it.entry_id: it for it in entries},
        configuration=settings(mode),
        encoder=_ENCODER,
        controller=controller,
        now_ms=START_MS,
    )


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [
        (SemanticMode.GUARDED, f"Served is the answer of {named(1)}, at 1.0000"),
        (SemanticMode.OFF, "The semantic tier is off for this alias; it would serve"),
    ],
)
async def test_a_like_question_is_explained(mode: SemanticMode, verdict: str) -> None:
    """Candidates, similarity, threshold, and what is served."""
    it = await explained(asked(_ASKED.lower()), await kept(1, _ASKED), mode=mode)
    assert verdict in it.verdict
    told = document(it)
    assert (told["served"], told["entries_in_scope"]) == (named(1), 1)
    assert told["candidates"][0]["similarity"] == pytest.approx(1.0, abs=2e-3)


def controller(*, requests: int, wrong_at: float | None = None) -> Controller:
    """A tenant's controller after so many requests, and a wrong hit on the first entry."""
    made = Controller(most_wrong=0.02)
    made.saw_none(requests)
    if wrong_at is not None:
        made.judged(named(1), score=wrong_at, is_right=False, was_served=True, weight=1.0)
    return made


@pytest.mark.parametrize(
    ("known", "served", "verdict"),
    [
        (None, None, "nothing was judged of this tenant yet"),
        (controller(requests=100), None, "(100 compared requests, 0 wrong hits found) bears no"),
        (controller(requests=2_000), named(1), "serves from 0.70 on. By 2000 compared requests"),
        (controller(requests=2_000, wrong_at=1.0), None, "was found wrong at 1.0000, so"),
    ],
)
async def test_in_verified_mode_the_tenant_s_controller_has_the_last_word(
    known: Controller | None, served: str | None, verdict: str
) -> None:
    """Whether it serves at that score, the veto of the entry, its bound and what it rests on."""
    entry = await kept(1, _ASKED)
    it = await explained(asked(_ASKED.lower()), entry, mode=SemanticMode.VERIFIED, controller=known)
    assert verdict in it.verdict
    told = document(it)
    assert (told["served"], told["controller"]["serves"]) == (served, served is not None)
    assert (told["controller"]["evidence"] is None) == (known is None)


async def test_a_score_below_the_controller_s_threshold_is_a_miss() -> None:
    """With the score from which on it serves."""
    known = controller(requests=2_000)
    for _ in range(12):
        known.judged("another", score=0.95, is_right=False, was_served=False, weight=10.0)
    it = await explained(
        asked(_ASKED.lower()), await kept(1, _ASKED), mode=SemanticMode.VERIFIED, controller=known
    )
    trust = trust_of(known, tenant="acme", entry_id=named(1), score=0.9)
    assert trust.serves is False
    assert "serves from" in verdict_of(trust, served="it", score=0.9)
    assert document(it)["controller"]["evidence"]["requests"] == 2_120


async def test_what_is_not_near_enough_says_by_how_much() -> None:
    """The threshold stands beside the best."""
    entry = await kept(1, "How do I reset the password of the wireless router in our office?")
    it = await explained(asked(), entry)
    assert "A miss" in it.verdict
    assert document(it)["served"] is None


async def test_another_scope_is_named_as_such() -> None:
    """Entries of the tenant and alias are counted all the same."""
    it = await explained(asked(), await kept(1, _ASKED, system="Answer in French."))
    assert (it.in_scope, it.of_tenant) == (0, 1)
    assert it.verdict.startswith("A miss: no entry has the same tenant")


async def test_a_guard_is_named(table: CacheDesk) -> None:
    """With the question that it objects to."""
    entry = await kept(1, "How do I reset 2 passwords of my mail account?")
    it = await explained(asked("How do I reset 3 passwords of my mail account?"), entry)
    assert it.verdict == "A miss: guards object to all that is near."
    (candidate,) = document(it)["candidates"]
    assert candidate["guard"]
    print_explanation(table.desk.console, it, now_ms=START_MS)
    printed = table.printed()
    assert candidate["guard"] in printed
    assert "How do I reset 2 passwords" in printed


@pytest.mark.parametrize("text", ["What time is it now?", "Чи працює це?"])
async def test_what_is_never_compared_says_why(text: str) -> None:
    """It is found by its exact repetition alone."""
    it = await explained(asked(text), await kept(1, _ASKED))
    assert "exact repetition alone" in it.verdict
    assert document(it)["candidates"] == []


async def test_a_request_is_explained_by_what_the_look_up_saw() -> None:
    """It is compared with all entries but its own."""
    first, own = await kept(1, _ASKED), await kept(2, _ASKED)
    end = finished(2, cache=CacheEvidence(semantic=own.semantic, candidate_id="gone"))
    it = await explained(asked_of_request(end), first, own)
    told = document(it)
    assert [near["id"] for near in told["candidates"]] == [named(1)]
    assert told["was_told"]["candidate_id"] == "gone"
    plain = asked_of_request(finished(3))
    it = await explained(plain, first)
    assert "the look-up did not compare it" in it.verdict
    assert msgspec.json.encode(document(it))
