"""Decisions of the registry, with schemas that know only their form and whom they can follow."""

from collections.abc import Sequence

import msgspec
import pytest

from services.schema_registry.changes import (
    Change,
    LevelErased,
    LevelSet,
    SchemaErased,
    SchemaPut,
    SubjectHidden,
)
from services.schema_registry.decide import (
    FIRST_DERIVED_ID,
    MAX_VERSIONS_OF_A_SUBJECT,
    Deleted,
    LevelChanged,
    Packaged,
    Registered,
    check_all,
    check_one,
    delete_subject,
    delete_version,
    erase_level,
    find_version,
    look_up,
    register,
    seed,
    set_level,
    visible,
)
from services.schema_registry.refusals import Refusal
from services.schema_registry.state import Entry, RegistryState
from services.shared.domain.compatibility import Compatibility
from services.shared.domain.errors import InvalidConfiguration


class Letter(msgspec.Struct, frozen=True):
    """A schema whose form is its first letter; lower case follows nothing but NONE."""

    text: str

    @property
    def form(self) -> str:
        """The first letter."""
        return self.text[:1]

    def problems(self, promise: Compatibility, earlier: Sequence["Letter"]) -> list[str]:
        """One problem for each earlier schema, for a lower-case letter."""
        if promise is Compatibility.NONE or self.form.isupper():
            return []
        return [f"{self.form} cannot follow {other.form}" for other in earlier]


def state_of(*changes: Change) -> RegistryState:
    """The state after some changes."""
    state = RegistryState()
    for change in changes:
        state.apply(change)
    return state


def put(version: int, text: str, *, subject: str = "s", schema_id: int = 0) -> SchemaPut:
    """A version; its id is 100 + its letter unless given."""
    return SchemaPut(
        subject=subject,
        version=version,
        schema_id=schema_id or 100 + ord(text[0]),
        schema=Letter(text),
    )


def hidden(version: int, text: str) -> SchemaPut:
    """A hidden version."""
    return msgspec.structs.replace(put(version, text), is_deleted=True)


A, B = put(1, "A"), put(2, "B")
A_GONE = hidden(1, "A")
ALL_GONE = SubjectHidden(subject="s", last_version=2)


def code_of(answer: object) -> int:
    """The error code of a refusal."""
    assert isinstance(answer, Refusal)
    return answer.error_code


def follow(state: RegistryState, answer: Registered | Deleted | LevelChanged | Refusal) -> None:
    """Apply the changes of a decision."""
    assert not isinstance(answer, Refusal)
    for change in answer.changes:
        state.apply(change)


def test_first_schema_becomes_version_1_under_an_id_of_its_own() -> None:
    """The id is made from the schema: the same everywhere, and beyond the packaged ones."""
    first = register(state_of(), "s", Letter("A"))
    assert isinstance(first, Registered)
    assert first.version == 1
    assert FIRST_DERIVED_ID <= first.schema_id < 2**31
    other = register(state_of(put(1, "Z", subject="t")), "u", Letter("A but written otherwise"))
    assert isinstance(other, Registered)
    assert other.schema_id == first.schema_id


def test_derived_id_that_is_taken_is_passed_over() -> None:
    """Two schemas never have one id."""
    free = register(state_of(), "s", Letter("A"))
    assert isinstance(free, Registered)
    taken = state_of(put(1, "Z", subject="t", schema_id=free.schema_id))
    moved = register(taken, "s", Letter("A"))
    assert isinstance(moved, Registered)
    assert moved.schema_id != free.schema_id
    assert FIRST_DERIVED_ID <= moved.schema_id < 2**31


def test_next_schema_becomes_the_next_version() -> None:
    """Versions count up, over hidden ones too."""
    answer = register(state_of(A, hidden(2, "B")), "s", Letter("C"))
    assert isinstance(answer, Registered)
    assert answer.version == 3
    (change,) = answer.changes
    assert change == put(3, "C", schema_id=answer.schema_id)


def test_known_schema_is_not_registered_again() -> None:
    """The same form under the same subject gives the same version and changes nothing."""
    assert register(state_of(A, B), "s", Letter("A otherwise")) == Registered(A.schema_id, 1)


def test_schema_known_under_another_subject_keeps_its_id() -> None:
    """One schema has one id."""
    answer = register(state_of(A), "t", Letter("A"))
    assert answer == Registered(A.schema_id, 1, (put(1, "A", subject="t"),))


def test_hidden_schema_comes_back_as_a_new_version() -> None:
    """After a soft deletion the schema may be registered anew, under its old id."""
    answer = register(state_of(A_GONE), "s", Letter("A"))
    assert answer == Registered(A.schema_id, 2, (put(2, "A"),))


def test_incompatible_schema_is_refused_with_all_reasons() -> None:
    """The level of the subject decides; hidden versions do not count."""
    state = state_of(A, B)
    answer = register(state, "s", Letter("c"))
    assert code_of(answer) == 409
    assert "c cannot follow A; c cannot follow B" in str(answer)
    state.apply(LevelSet(subject="s", level=Compatibility.NONE))
    assert isinstance(register(state, "s", Letter("c")), Registered)
    assert isinstance(register(state_of(A_GONE), "s", Letter("c")), Registered)


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\nb"])
def test_subject_without_a_proper_name_is_refused(subject: str) -> None:
    """1 to 255 printable characters."""
    assert code_of(register(state_of(), subject, Letter("A"))) == 42208


def test_subject_holds_a_bounded_number_of_versions() -> None:
    """A client that registers in a loop is stopped."""
    versions = (
        put(n, chr(0x4E00 + n), schema_id=n) for n in range(1, MAX_VERSIONS_OF_A_SUBJECT + 1)
    )
    state = state_of(*versions)
    assert code_of(register(state, "s", Letter("A"))) == 422
    assert isinstance(register(state, "t", Letter("A")), Registered)


def test_look_up_finds_the_newest_version_of_a_form() -> None:
    """Of versions of one form, the newest; hidden ones only when asked for."""
    state = state_of(put(1, "A first"), put(2, "B"), put(3, "A second"), hidden(4, "A third"))
    found = look_up(state, "s", Letter("A"), with_deleted=False)
    assert isinstance(found, Entry)
    assert (found.version, found.schema.text) == (3, "A second")
    found = look_up(state, "s", Letter("A"), with_deleted=True)
    assert isinstance(found, Entry)
    assert found.version == 4


def test_look_up_says_what_is_missing() -> None:
    """The subject, or the schema."""
    assert code_of(look_up(state_of(), "s", Letter("A"), with_deleted=False)) == 40401
    assert code_of(look_up(state_of(A_GONE), "s", Letter("A"), with_deleted=False)) == 40401
    assert code_of(look_up(state_of(A), "s", Letter("B"), with_deleted=False)) == 40403


def test_check_compares_with_one_version_or_with_all() -> None:
    """One version by number or "latest"; all of them as at registration."""
    state = state_of(A, B)
    assert check_all(state, "s", Letter("c")) == ["c cannot follow A", "c cannot follow B"]
    assert check_all(state, "unknown", Letter("c")) == []
    assert check_one(state, "s", Letter("c"), "latest") == ["c cannot follow B"]
    assert check_one(state, "s", Letter("c"), "1") == ["c cannot follow A"]
    assert check_one(state, "s", Letter("C"), "1") == []
    assert code_of(check_one(state, "s", Letter("C"), "3")) == 40402


@pytest.mark.parametrize("version", ["0", "-2", "x", "", "1.0", "2147483648", "9" * 30, "\u0661"])
def test_version_that_is_none_is_refused(version: str) -> None:
    """Only 1 to 2^31-1, "latest" and -1."""
    assert code_of(find_version(state_of(A), "s", version)) == 42202


def test_version_is_found_by_number_and_as_the_latest() -> None:
    """The latest is the newest that is not hidden."""
    state = state_of(A, B, hidden(3, "C"))
    for version, expected in (("1", 1), ("latest", 2), ("-1", 2)):
        entry = find_version(state, "s", version)
        assert isinstance(entry, Entry)
        assert entry.version == expected
    assert code_of(find_version(state, "s", "3")) == 40402
    entry = find_version(state, "s", "3", with_deleted=True)
    assert isinstance(entry, Entry)
    assert code_of(find_version(state, "t", "1")) == 40401


def test_deleted_subject_is_hidden_then_erased() -> None:
    """Soft first, permanent after; each only once."""
    state = state_of(A, B, LevelSet(subject="s", level=Compatibility.FULL))
    assert code_of(delete_subject(state, "s", permanent=True)) == 40405
    answer = delete_subject(state, "s", permanent=False)
    assert answer == Deleted((1, 2), (ALL_GONE, LevelErased(subject="s")))
    follow(state, answer)
    assert visible(state, "s") == []
    assert state.own_level("s") is None
    assert [entry.schema_id for entry in state.with_id(A.schema_id)] == [A.schema_id]
    assert code_of(delete_subject(state, "s", permanent=False)) == 40404
    answer = delete_subject(state, "s", permanent=True)
    erased = tuple(SchemaErased(subject="s", version=version) for version in (1, 2))
    assert answer == Deleted((1, 2), erased)
    follow(state, answer)
    assert state.subjects() == []
    assert state.with_id(A.schema_id) == []
    assert code_of(delete_subject(state, "s", permanent=True)) == 40401


def test_deleted_version_is_hidden_then_erased() -> None:
    """As with subjects; "latest" is the newest that is not hidden."""
    state = state_of(A, B)
    assert code_of(delete_version(state, "s", "2", permanent=True)) == 40407
    answer = delete_version(state, "s", "latest", permanent=False)
    assert answer == Deleted((2,), (hidden(2, "B"),))
    follow(state, answer)
    assert code_of(delete_version(state, "s", "2", permanent=False)) == 40406
    follow(state, delete_version(state, "s", "2", permanent=True))
    assert [entry.version for entry in state.versions("s")] == [1]
    assert code_of(delete_version(state, "s", "2", permanent=True)) == 40402


def test_level_of_a_subject_comes_before_the_general_one() -> None:
    """BACKWARD unless set; erasing a level returns what it was."""
    state = state_of()
    assert state.level("s") is Compatibility.BACKWARD
    follow(state, set_level("", "FULL"))
    assert state.level("s") is Compatibility.FULL
    follow(state, set_level("s", "NONE"))
    assert state.level("s") is Compatibility.NONE
    answer = erase_level(state, "s")
    assert answer == LevelChanged(Compatibility.NONE, (LevelErased(subject="s"),))
    follow(state, answer)
    assert state.level("s") is Compatibility.FULL
    assert code_of(erase_level(state, "s")) == 40401
    follow(state, erase_level(state, ""))
    assert state.level("s") is Compatibility.BACKWARD
    assert erase_level(state, "") == LevelChanged(
        Compatibility.BACKWARD, (LevelErased(subject=""),)
    )


def test_level_that_is_none_is_refused() -> None:
    """Only Confluent's seven, for a subject with a proper name."""
    for level in ("", "backward", "SIDEWAYS", None):
        assert code_of(set_level("s", level)) == 42203
    assert code_of(set_level("a\nb", "FULL")) == 42208


PACKAGED = [
    Packaged(record="one", schema_id=1, schema=Letter("A")),
    Packaged(record="one", schema_id=4, schema=Letter("B")),
    Packaged(record="two", schema_id=2, schema=Letter("C")),
]
SUBJECTS = {"ones-value": "one", "more-ones-value": "one", "twos-value": "two", "x": "unknown"}


def seeded(state: RegistryState) -> list[tuple[str, int, int, str]]:
    """Subject, version, id and text of what is missing; it is applied."""
    found = []
    for change in seed(state, PACKAGED, SUBJECTS):
        assert isinstance(change, SchemaPut)
        state.apply(change)
        found.append((change.subject, change.version, change.schema_id, change.schema.text))
    return found


def test_packaged_schemas_are_put_under_the_subject_of_every_topic() -> None:
    """All versions, with their packaged ids; a second time there is nothing to do."""
    state = state_of()
    assert seeded(state) == [
        ("more-ones-value", 1, 1, "A"),
        ("more-ones-value", 2, 4, "B"),
        ("ones-value", 1, 1, "A"),
        ("ones-value", 2, 4, "B"),
        ("twos-value", 1, 2, "C"),
    ]
    assert seeded(state) == []


def test_packaged_schema_comes_after_what_others_registered() -> None:
    """A version number that is taken is left alone."""
    state = state_of(put(1, "X", subject="twos-value"))
    assert ("twos-value", 2, 2, "C") in seeded(state)


def test_packaged_text_replaces_an_older_one_in_its_place() -> None:
    """The log follows the files; a hidden version stays hidden."""
    old = put(1, "C with other docs", subject="twos-value", schema_id=2)
    state = state_of(msgspec.structs.replace(old, is_deleted=True))
    assert ("twos-value", 1, 2, "C") in seeded(state)
    assert visible(state, "twos-value") == []


def test_log_of_another_registry_is_refused() -> None:
    """A packaged id that stands for another schema would make records unreadable."""
    with pytest.raises(InvalidConfiguration, match="id 2 of two"):
        seeded(state_of(put(1, "X", subject="theirs", schema_id=2)))


def test_version_that_is_put_again_is_replaced() -> None:
    """Its former id is forgotten with it."""
    state = state_of(A, put(1, "B"))
    assert [entry.schema.text for entry in state.versions("s")] == ["B"]
    assert state.with_id(A.schema_id) == []
    assert [entry.version for entry in state.entries()] == [1]
    state.apply(SchemaErased(subject="unknown", version=1))
    state.apply(SubjectHidden(subject="s", last_version=0))
    assert len(visible(state, "s")) == 1
