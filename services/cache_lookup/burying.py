"""What becomes of a record that is worked at in the background when that goes wrong."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import InferenceRequested
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)


@contextmanager
def buried_if_it_fails(record: OpenRecord[InferenceRequested]) -> Iterator[None]:
    """Let one record fail alone: it becomes a dead letter, and the others go on.

    Raises:
        MustStop: This process may not go on. Not retriable.
    """
    try:
        yield
    except PoisonRecord as poison:
        record.bury(poison)
    except MustStop:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
        kind = type(error).__name__
        _LOG.error("a request could not be passed on", extra={"error": kind})
        record.bury(PoisonRecord("processor_error", kind))
