"""The encoder that services use: one thread of its own, a bounded queue, a memory of recent texts.

While the thread runs a batch, calls wait; the next batch takes from all of them in turn, so that a
long call does not hold up short ones, and texts of one length run together.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.shared.adapters.minilm.pinned import (
    DIMENSIONS,
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    is_complete,
)
from services.shared.adapters.minilm.tokens import Tokens, read_tokens
from services.shared.domain.errors import Unavailable
from services.shared.ports.encoder import Vectors

MOST_WAITING = 1_024
MOST_REMEMBERED = 1_024
_BATCH_TEXTS = 32
_PORT = "encoder"


class Model(Protocol):
    """What turns token ids into vectors."""

    @property
    def build(self) -> str:
        """See ``Encoder``."""
        ...

    def vectors(self, ids: NDArray[np.int64]) -> Vectors:
        """Unit vectors of texts of one length, one text a row."""
        ...


class _Call:
    """Texts of one caller that wait for their vectors."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.unread = deque(enumerate(texts))
        self.vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        self.missing = len(texts)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


_Item = tuple[_Call, int, str]


class MiniLmEncoder:
    """An ``Encoder`` for one event loop."""

    dimensions = DIMENSIONS

    def __init__(
        self,
        model: Model,
        tokens: Tokens,
        *,
        most_waiting: int = MOST_WAITING,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        """Start idle.

        Args:
            model: Runs in the encoder's own thread.
            tokens: Turns texts into token ids.
            most_waiting: Texts that may wait; a call that would exceed it is refused. A call that
                finds nothing waiting is taken whatever its size.
            most_remembered: Texts whose vectors are kept, 1.5 kB and the text each.
        """
        self._model = model
        self._tokens = tokens
        self._most_waiting = most_waiting
        self._most_remembered = most_remembered
        self._remembered: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._waiting: deque[_Call] = deque()
        self._waiting_texts = 0
        self._working: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @property
    def build(self) -> str:
        """See ``Encoder``."""
        return self._model.build

    def knows(self, text: str) -> bool:
        """See ``Encoder``: at most 128 tokens, none unknown, and mostly Latin letters."""
        return text in self._remembered or self._tokens.knows(text)

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text; beyond 256 ``encode`` cuts it off."""
        return self._tokens.count(text)

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder``."""
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        unknown: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            remembered = self._recall(text)
            if remembered is None:
                unknown.setdefault(text, []).append(place)
            else:
                vectors[place] = remembered
        if unknown:
            encoded = await self._encoded(list(unknown))
            for (text, places), vector in zip(unknown.items(), encoded, strict=True):
                vectors[places] = vector
                self._remember(text, vector)
        return vectors

    def close(self) -> None:
        """End the thread; calls that wait get no answer."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _recall(self, text: str) -> NDArray[np.float32] | None:
        vector = self._remembered.get(text)
        if vector is not None:
            self._remembered.move_to_end(text)
        return vector

    def _remember(self, text: str, vector: NDArray[np.float32]) -> None:
        self._remembered[text] = vector.copy()  # not a view that keeps a whole call alive
        if len(self._remembered) > self._most_remembered:
            self._remembered.popitem(last=False)

    async def _encoded(self, texts: Sequence[str]) -> Vectors:
        if self._waiting_texts and self._waiting_texts + len(texts) > self._most_waiting:
            raise Unavailable(_PORT, f"{self._waiting_texts} texts wait already")
        call = _Call(texts)
        self._waiting.append(call)
        self._waiting_texts += len(texts)
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="encoder")
        try:
            await call.done
        finally:
            self._withdraw(call)
        return call.vectors

    def _withdraw(self, call: _Call) -> None:
        """Forget what a call still waits for: it was answered, or its caller has left."""
        self._waiting_texts -= len(call.unread)
        call.unread.clear()

    async def _work(self) -> None:
        """Run batches until nobody waits."""
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            texts = [text for _, _, text in batch]
            try:
                vectors = await loop.run_in_executor(self._thread, self._run, texts)
            except Exception as error:  # noqa: BLE001  whatever a library raises, callers go on
                _fail(batch, error)
            else:
                _deliver(batch, vectors)
        self._working = None

    def _next_batch(self) -> list[_Item]:
        """Up to 32 texts, one of each waiting call in turn."""
        batch: list[_Item] = []
        while self._waiting and len(batch) < _BATCH_TEXTS:
            call = self._waiting.popleft()
            if call.unread:
                batch.append((call, *call.unread.popleft()))
                self._waiting_texts -= 1
                self._waiting.append(call)
        return batch

    def _run(self, texts: Sequence[str]) -> Vectors:
        """Encode texts, those of one length together; runs in the thread."""
        by_length: dict[int, list[int]] = {}
        ids = [self._tokens.ids(text) for text in texts]
        for place, one in enumerate(ids):
            by_length.setdefault(len(one), []).append(place)
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for places in by_length.values():
            alike = np.array([ids[place] for place in places], np.int64)
            vectors[places] = self._model.vectors(alike)
        return vectors


def _deliver(batch: Sequence[_Item], vectors: Vectors) -> None:
    for (call, place, _), vector in zip(batch, vectors, strict=True):
        call.vectors[place] = vector
        call.missing -= 1
        if not call.missing and not call.done.done():
            call.done.set_result(None)


def _fail(batch: Sequence[_Item], error: Exception) -> None:
    for call, _, _ in batch:
        if not call.done.done():
            unavailable = Unavailable(_PORT, type(error).__name__)
            unavailable.__cause__ = error
            call.done.set_exception(unavailable)


def load_encoder(folder: Path, *, most_waiting: int = MOST_WAITING) -> MiniLmEncoder:
    """Load the encoder that ``fetch_encoder`` put into a folder; takes some 0.3 s.

    Runs on ONNX Runtime, or in numpy where that is not installed; the builds differ.

    Args:
        folder: See ``encoder_folder``.
        most_waiting: Texts that may wait for their turn.

    Raises:
        Unavailable: There is none; says what to do.
    """
    if not is_complete(folder):
        raise Unavailable(_PORT, f"{folder} holds none; 'millrace encoder' fetches it")
    tokens = read_tokens(folder / TOKENIZER)
    return MiniLmEncoder(_model(folder), tokens, most_waiting=most_waiting)


def _model(folder: Path) -> Model:
    with contextlib.suppress(ImportError):  # there is no wheel for this platform
        from services.shared.adapters.minilm.onnx_model import OnnxModel  # noqa: PLC0415

        if (folder / GRAPH).is_file():
            return OnnxModel(folder / GRAPH)
    from services.shared.adapters.minilm.numpy_model import NumpyModel  # noqa: PLC0415

    return NumpyModel(folder / WEIGHTS)
