"""Imports Faust without aiohttp's client: 8 MB and a quarter of a second that nobody here needs.

Faust names the client's class in annotations and would use it for its web views alone. Import this
module before anything of Faust; where aiohttp is there already, it changes nothing.
"""

import sys
import types

_CLIENT = "aiohttp.client"


def _import_faust() -> None:
    if _CLIENT in sys.modules:
        return
    package, client = types.ModuleType("aiohttp"), types.ModuleType(_CLIENT)
    client.ClientSession = type("ClientSession", (), {})  # type: ignore[attr-defined]
    sys.modules |= {package.__name__: package, client.__name__: client}
    try:
        import faust.app  # noqa: F401, PLC0415  # it keeps what it has seen
    finally:
        del sys.modules[package.__name__], sys.modules[client.__name__]


_import_faust()
