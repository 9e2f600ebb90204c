"""Log files: followed, bounded, and shown."""

from pathlib import Path

import pytest

from services.cli.local_stack.logs import LogFollower, bound, read_line, tail


def append(path: Path, text: str) -> None:
    """Write as a process does."""
    with path.open("a") as file:
        file.write(text)


def test_only_new_and_whole_lines_are_shown(tmp_path: Path) -> None:
    """What was there before is left out, and half a line waits for its other half."""
    path = tmp_path / "router.log"
    append(path, "old\n")
    follower = LogFollower({"router": path, "later": tmp_path / "later.log"})
    append(path, "one\n\ntw")
    assert [(line.process, line.text) for line in follower.new_lines()] == [("router", "one")]
    append(path, "o\n")
    append(tmp_path / "later.log", "three\n")
    assert [line.text for line in follower.new_lines()] == ["two", "three"]
    assert follower.new_lines() == []


def test_a_cut_file_is_followed_from_its_start(tmp_path: Path) -> None:
    """A line after ``bound`` is not missed."""
    path = tmp_path / "router.log"
    append(path, "x" * 100 + "\n")
    follower = LogFollower({"router": path})
    bound(path, max_bytes=10)
    append(path, "after\n")
    assert [line.text for line in follower.new_lines()] == ["after"]


def test_a_log_is_bounded_and_keeps_its_last_part(tmp_path: Path) -> None:
    """A file that grew too long becomes the predecessor, and its process writes on."""
    path = tmp_path / "router.log"
    with path.open("a") as process:
        process.write("first\n")
        process.flush()
        bound(path, max_bytes=100)
        assert path.read_text() == "first\n", "short ones are left alone"
        process.write("x" * 200)
        process.flush()
        bound(path, max_bytes=100)
        process.write("second\n")
    assert path.read_text() == "second\n"
    assert (tmp_path / "router.log.1").read_text() == "first\n" + "x" * 200


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    """An error shows the lines that explain it."""
    path = tmp_path / "kafka.log"
    append(path, "".join(f"{n}\n" for n in range(100)))
    assert tail(path, lines=2) == "98\n99"


@pytest.mark.parametrize(
    ("line", "text", "is_quiet"),
    [
        pytest.param(
            '{"at":"2026-01-02T03:04:05.678+00:00","level":"info","service":"router",'
            '"logger":"services.router","message":"listening","port":1}',
            "03:04:05.678 info listening port=1",
            True,
            id="json_info",
        ),
        pytest.param(
            '{"level":"warning","message":"slow"}', "warning slow", False, id="json_warning"
        ),
        pytest.param(
            '{"level":"error","logger":"aiokafka.conn","message":"refused"}',
            "error refused",
            True,
            id="library_that_retries",
        ),
        pytest.param("Traceback (most recent call last):", None, False, id="traceback"),
        pytest.param("12:M 21 Nov 2026 03:24:32.136 # Server initialized", None, True, id="redis"),
        pytest.param("12:M 21 Nov 2026 03:24:32.136 # Fatal error, can't", None, False, id="fatal"),
        pytest.param("WARNING: a library calls System::load", None, True, id="advice_of_java"),
        pytest.param("2026-11-21 03:24:32 WARN disk full (kafka)", None, False, id="kafka_warning"),
        pytest.param("[1, 2]", None, False, id="json_of_another_kind"),
    ],
)
def test_a_line_is_shown_for_people(line: str, text: str | None, *, is_quiet: bool) -> None:
    """JSON is shortened; everything else is shown as it is, and only routine is quiet."""
    shown = read_line("router", line)
    assert (shown.text, shown.is_quiet) == (text or line, is_quiet)
