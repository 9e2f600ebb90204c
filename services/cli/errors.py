"""Why a command cannot do what was asked."""

from services.shared.domain.errors import MillraceError


class CommandError(MillraceError):
    """A command cannot go on; the text says why and what to do. Not retriable as it stands."""
