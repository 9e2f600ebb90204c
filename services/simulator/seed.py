"""Randomness that is none: everything follows from what was asked."""

import zlib
from hashlib import blake2b
from math import exp
from statistics import NormalDist

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_NORMAL = NormalDist()


def seed_from_parts(*parts: str) -> int:
    """A 64-bit seed; null bytes between the parts keep different splits apart."""
    text = "\0".join(parts).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def drawn_integer(seed: int, what: str) -> int:
    """A 64-bit number for one use of a seed (SplitMix64, Steele et al. 2014)."""
    mixed = (seed + zlib.crc32(what.encode()) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def drawn_ratio(seed: int, what: str) -> float:
    """A number in [0, 1) for one use of a seed."""
    return (drawn_integer(seed, what) >> 11) / (1 << 53)


def drawn_lognormal(seed: int, what: str, *, median: float, spread_ratio: float) -> float:
    """A lognormal number; ``spread_ratio`` is the standard deviation of its logarithm."""
    if spread_ratio == 0:
        return median
    ratio = (drawn_integer(seed, what) >> 12) / (1 << 52) + 1 / (1 << 54)
    return median * exp(spread_ratio * _NORMAL.inv_cdf(ratio))
