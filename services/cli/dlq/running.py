"""What the four commands do, at a desk."""

from contextlib import nullcontext

from services.cli.dlq import showing
from services.cli.dlq.decide import Wish
from services.cli.dlq.desk import Desk
from services.cli.dlq.options import Filters
from services.cli.dlq.purging import Purge, plan_purge, purge
from services.cli.dlq.reading import chosen, read_ends, read_letters
from services.cli.dlq.redriving import Plan, Redriven, plan, redrive
from services.cli.dlq.reporting import print_purge, print_redrive, purge_document, redrive_document
from services.cli.errors import CommandError
from services.cli.manner import Manner, ask, print_json
from services.shared.stream.dead_letter_log import Write


def run_list(desk: Desk, filters: Filters, *, as_json: bool) -> None:
    """List what is meant."""
    selection = filters.selection(now_ms=desk.now_ms())
    topics = filters.topics(desk.log, selection)
    with desk.progress() as on_progress:
        letters = chosen(read_letters(desk.log, topics, on_progress=on_progress), selection)
    if as_json:
        listed = [showing.document(found) for found in letters]
        print_json({"dead_letters": listed, "counts": showing.counts(letters)})
    else:
        showing.print_list(desk.console, letters, now_ms=desk.now_ms())


def run_show(desk: Desk, letter_id: str, *, with_text: bool, as_json: bool) -> None:
    """Show one."""
    filters = Filters(ids=[letter_id])
    selection = filters.selection(now_ms=desk.now_ms())
    topics = filters.topics(desk.log, selection)
    with desk.progress() as on_progress:
        letters = read_letters(desk.log, topics, on_progress=on_progress)
        (found,) = chosen(letters, selection)
        ends = read_ends(desk.log, [found], on_progress=on_progress)
    read = next(desk.log.fetch([found.letter.place]), None)
    if read is None:
        raise CommandError(f"The dead letter of {letter_id} has just been deleted.")
    shown = showing.whole_document(found, read, ends, with_text=with_text)
    if as_json:
        print_json(shown)
    else:
        showing.print_whole(desk.console, shown, now_ms=desk.now_ms())


def run_redrive(desk: Desk, filters: Filters, wish: Wish, manner: Manner) -> bool:
    """Put back what is meant; whether nothing was refused.

    Others that redrive are shut out before the marks are read: two at once put nothing back twice.

    Raises:
        Unavailable: Kafka did not take it all; what was done is reported.
    """
    filters.check_any()
    with nullcontext() if manner.dry_run else desk.log.redriving() as write:
        planned = _planned(desk, filters, wish)
        done = list(planned.left)
        try:
            if write is None:
                done += [Redriven(found=found, note=note) for found, note in planned.put_back]
            elif planned.put_back:
                _agree_to_redrive(planned, manner)
                _redrive(desk, write, planned, wish, done)
        finally:
            if manner.as_json:
                print_json(redrive_document(done, dry_run=manner.dry_run))
            else:
                print_redrive(desk.console, done, dry_run=manner.dry_run)
    return not any(it.is_refusal for it in done)


def run_purge(desk: Desk, filters: Filters, manner: Manner) -> bool:
    """Delete what is meant, as far as that can be; whether it could all be.

    Raises:
        Unavailable: Kafka did not do it.
    """
    filters.check_any()
    selection = filters.selection(now_ms=desk.now_ms())
    topics = filters.topics(desk.log, selection)
    with desk.progress() as on_progress:
        purges = [plan_purge(desk.log, t, selection, on_progress=on_progress) for t in topics]
    purges = [planned for planned in purges if planned.cuts]
    if not manner.dry_run and any(planned.purged for planned in purges):
        _agree_to_purge(purges, manner)
        for planned in purges:
            purge(desk.log, planned)
    if manner.as_json:
        print_json(purge_document(purges, dry_run=manner.dry_run))
    else:
        print_purge(desk.console, purges, dry_run=manner.dry_run)
    return not any(planned.left for planned in purges)


def _planned(desk: Desk, filters: Filters, wish: Wish) -> Plan:
    selection = filters.selection(now_ms=desk.now_ms())
    topics = filters.topics(desk.log, selection)
    with desk.progress() as on_progress:
        letters = chosen(read_letters(desk.log, topics, on_progress=on_progress), selection)
        ends = read_ends(desk.log, letters, on_progress=on_progress)
    partitions = desk.log.partition_counts()
    return plan(letters, wish, named=selection.ids, ends=ends, partitions=partitions)


def _redrive(desk: Desk, write: Write, planned: Plan, wish: Wish, done: list[Redriven]) -> None:
    with desk.progress() as on_progress:
        for it in redrive(desk.log, write, planned, wish, now_ms=desk.now_ms):
            done.append(it)
            on_progress("redrive", 1, len(planned.put_back))


def _agree_to_redrive(planned: Plan, manner: Manner) -> None:
    count = len(planned.put_back)
    ended = sum(bool(note) for _, note in planned.put_back)
    warning = f" {ended} of them for nobody: their requests have ended." if ended else ""
    ask(f"{count} dead letters will be put back.{warning} Go on?", yes=manner.yes)


def _agree_to_purge(purges: list[Purge], manner: Manner) -> None:
    for planned in purges:
        count = planned.purged
        ask(f"{count} dead letters of {planned.topic} will be deleted. Go on?", yes=manner.yes)
