"""Options that say which dead letters are meant, and what becomes of them."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from services.cli.errors import CommandError
from services.cli.times import time_ms

if TYPE_CHECKING:
    from services.cli.dlq.log import Log
    from services.shared.domain.dead_letter_table import Selection

IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="TOPIC-PARTITION-OFFSET of the original records."),
]
TopicOption = Annotated[str, typer.Option("--topic", help="Those of this topic.")]
ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Those given up for this reason; repeatable.")
]
SinceOption = Annotated[
    str, typer.Option("--since", help="Those given up since: 10m, 2h, 1d or an ISO 8601 time.")
]
UntilOption = Annotated[str, typer.Option("--until", help="Those given up before; as --since.")]
RequestOption = Annotated[
    str, typer.Option("--request", help="Those that are about this request.", metavar="ID")
]
RetriableOption = Annotated[
    bool, typer.Option("--retriable", help="Those that may pass once the pipeline is mended.")
]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """The options that say which dead letters are meant, as they were given.

    Attributes:
        topic: Topic or dead-letter topic; empty = all, or those of ``ids``.
        ids: Places of original records.
        reasons: Reasons.
        since: Age or time.
        until: Age or time.
        request: Request id.
        retriable: Only what is retriable.
    """

    topic: str = ""
    ids: list[str] | None = None
    reasons: list[str] | None = None
    since: str = ""
    until: str = ""
    request: str = ""
    retriable: bool = False

    def selection(self, *, now_ms: float) -> "Selection":
        """Which ones are meant.

        Raises:
            CommandError: An id, a reason or a time is none.
        """
        from services.shared.domain.dead_letter_reasons import REASONS  # noqa: PLC0415
        from services.shared.domain.dead_letter_table import Selection  # noqa: PLC0415
        from services.shared.domain.dead_letters import Place, read_place  # noqa: PLC0415

        places: set[Place] = set()
        for text in self.ids or ():
            place = read_place(text)
            if place is None:
                raise CommandError(f"'{text}' is no id: write TOPIC-PARTITION-OFFSET.")
            places.add(place)
        unknown = sorted(set(self.reasons or ()) - set(REASONS))
        if unknown:
            raise CommandError(f"There is no reason '{unknown[0]}'. Known: {', '.join(REASONS)}")
        return Selection(
            ids=frozenset(places),
            reasons=frozenset(self.reasons or ()),
            since_ms=time_ms("--since", self.since, now_ms=now_ms),
            until_ms=time_ms("--until", self.until, now_ms=now_ms),
            request_id=self.request,
            retriable=self.retriable,
        )

    def topics(self, log: "Log", selection: "Selection") -> list[str]:
        """The dead-letter topics in which they are.

        Raises:
            CommandError: There is none of that name.
        """
        from services.cli.dlq.reading import dead_letter_topics  # noqa: PLC0415

        if self.topic or not selection.ids:
            return dead_letter_topics(log, self.topic)
        named = sorted({place.topic for place in selection.ids})
        return [topic for name in named for topic in dead_letter_topics(log, name)]

    def check_any(self) -> None:
        """Refuse to take all dead letters there are by mistake.

        Raises:
            CommandError: Nothing says which ones are meant.
        """
        if not any(msgspec.structs.astuple(self)):
            raise CommandError(
                "Say which: by ID, --topic, --reason, --since, --until, --request or --retriable. "
                "'millrace dlq list' shows what there is."
            )
