"""How many calls reached the simulator, from its own counters."""

import re
import urllib.request

from tests.load.stack import Target

_CALLS = re.compile(r'^millrace_simulator_calls_total\{operation="embeddings",.*\} (\d+)$', re.M)
_TIMEOUT_S = 10.0


def embeddings_calls(simulator: Target) -> int:
    """Embeddings calls that have ended since it started."""
    url = simulator.url.removesuffix("/v1") + "/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # ours
        text = answer.read().decode()
    return sum(int(count) for count in _CALLS.findall(text))
