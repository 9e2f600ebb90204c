"""When the disk that holds the data is too full to take anything new."""

from enum import StrEnum

FILLING_RATIO = 0.80
"""From this used share on, somebody has to make room."""

FULL_RATIO = 0.90
"""From this used share on, no new requests are taken: the rest is for those that were."""

_HYSTERESIS = 0.02
"""What a threshold takes back only so far below itself, or the answers would flutter."""


class DiskLevel(StrEnum):
    """How full a disk is, as health checks say it."""

    OK = "ok"
    FILLING = "filling"
    FULL = "full"


def disk_level(used_ratio: float, *, before: DiskLevel = DiskLevel.OK) -> DiskLevel:
    """How full a disk is.

    Args:
        used_ratio: Its used share, 0 to 1.
        before: What it was at the last look.
    """
    if used_ratio >= _threshold(FULL_RATIO, is_in_force=before is DiskLevel.FULL):
        return DiskLevel.FULL
    if used_ratio >= _threshold(FILLING_RATIO, is_in_force=before is not DiskLevel.OK):
        return DiskLevel.FILLING
    return DiskLevel.OK


def _threshold(ratio: float, *, is_in_force: bool) -> float:
    return ratio - _HYSTERESIS if is_in_force else ratio
