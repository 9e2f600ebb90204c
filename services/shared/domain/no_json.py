"""What decoding says of bytes that are no JSON."""

import msgspec

NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What ``msgspec.json.decode`` raises: no JSON, no UTF-8, or nested too deeply to be read."""
