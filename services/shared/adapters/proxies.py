"""Which proxy leads to a provider; asked once, since HTTP clients ask at every request."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in stubs


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """The proxy that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name for a URL; empty = none.

    Lower-case names count first, as with curl.
    """
    target = urlsplit(url)
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if proxy_bypass_environment(target.netloc, {"no": excluded}):
        return ""
    name = f"{target.scheme}_proxy"
    return environ.get(name) or environ.get(name.upper()) or ""
