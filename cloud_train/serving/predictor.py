"""From a picture, or a tensor, to the labels and their probabilities."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cloud_train.data.pictures import BadPicture, decode
from cloud_train.serving.answers import Refused
from cloud_train.serving.batching import Batcher
from cloud_train.serving.config import ServeConfig
from cloud_train.serving.metrics import Metrics
from cloud_train.serving.seen import Seen
from cloud_train.serving.served_model import Pixels, ServedModel, Tensor
from contract.records import dump_record

# Decoding a picture takes as much memory as it has pixels, so few are decoded at the same time.
DECODERS = 2
SCORE_DIGITS = 4

T = TypeVar("T")


class Picture(NamedTuple):
    """What a client sent, and the name that it gave it."""

    name: str
    content: bytes


class Predictor:
    """Answers as many requests at the same time as agreed, each in limited time."""

    def __init__(self, model: ServedModel, config: ServeConfig, seen: Seen, metrics: Metrics) -> None:
        """Prepare for a model."""
        self.model = model
        self._config = config
        self._seen = seen
        self._metrics = metrics
        self._batcher = Batcher(model.run, max_batch=config.max_batch, count_batch=metrics.count_batch)
        self._inside = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer while the block runs."""
        with ThreadPoolExecutor(DECODERS, "decode") as self._threads:
            async with self._batcher.running():
                yield

    async def predict(self, pictures: list[Picture], top_k: int) -> list[dict[str, Any]]:
        """Return an answer for each picture.

        Raises:
            Refused: one cannot be decoded, too many requests wait, or there is no answer in time.
        """
        with self._place():
            return await self._in_time(asyncio.gather(*(self._look(picture, top_k) for picture in pictures)))

    async def predict_tensor(self, payload: bytes, top_k: int) -> dict[str, Any]:
        """Return the answer for the model's raw input, float32 in row-major order.

        Raises:
            Refused: it has another size, too many requests wait, or there is no good answer in time.
        """
        began_s = time.monotonic()
        scores = await self.score(payload, 1)
        return self._tell(scores[0], top_k, began_s)

    async def score(self, payload: bytes, batch: int) -> Tensor:
        """Return the scores (N, labels) of N raw inputs, float32 in row-major order.

        Raises:
            Refused: as `predict_tensor`.
        """
        shape = (batch, *self.model.taken.shape[1:])
        expected = int(np.prod(shape)) * np.dtype(np.float32).itemsize
        if len(payload) != expected:
            what = f"the input tensor has {len(payload)} bytes, {shape} float32 has {expected}"
            raise Refused("bad_input", what, "curl -F file=@FILE URL sends a picture")
        with self._place():
            inputs = np.frombuffer(payload, "<f4").reshape(shape)
            return await self._in_time(self._ask(inputs))

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what takes long beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def count(self, label: str) -> None:
        """Remember that a picture was predicted to be this."""
        self._seen.count(label)
        self._metrics.count_prediction(label)

    async def _look(self, picture: Picture, top_k: int) -> dict[str, Any]:
        began_s = time.monotonic()
        pixels = await self.in_thread(self._decode, picture)
        scores = await self._ask(self.model.prepare(pixels[np.newaxis]))
        return {**self._tell(scores[0], top_k, began_s), "file": picture.name}

    async def _ask(self, inputs: Tensor) -> Tensor:
        scores = await self._batcher.ask(inputs)
        if not np.isfinite(scores).all():
            raise Refused("model_not_finite", "the model answered NaN or infinity", "train it again")
        return scores

    def _decode(self, picture: Picture) -> Pixels:
        try:
            return decode(picture.content, self.model.preprocessing.shape, self._config.max_pixels)
        except BadPicture as error:
            what = f"{picture.name}: {error}" if picture.name else str(error)
            raise Refused("bad_image", what, "send a JPEG or PNG picture") from error

    def _tell(self, scores: Tensor, top_k: int, began_s: float) -> dict[str, Any]:
        """Return the answer in the words of a board, and `probability` and `predictions` beside them."""
        labels = self.model.labels
        best = [int(index) for index in np.argsort(-scores, kind="stable")[:top_k]]
        top = [
            {"label": labels[index], "id": index, "score": round(float(scores[index]), SCORE_DIGITS)}
            for index in best
        ]
        self.count(labels[best[0]])
        return {
            "label": top[0]["label"],
            "probability": top[0]["score"],
            "predictions": [{"label": each["label"], "probability": each["score"]} for each in top],
            "label_id": top[0]["id"],
            "score": top[0]["score"],
            "top": top,
            "model": dump_record(self.model.version),
            "latency_ms": {"total": round(1000 * (time.monotonic() - began_s), 3)},
        }

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._inside >= self._config.max_waiting:
            raise Refused("busy", "too many requests are waiting", "try again a little later")
        self._inside += 1
        self._metrics.waiting.set(self._inside)
        try:
            yield
        finally:
            self._inside -= 1
            self._metrics.waiting.set(self._inside)

    async def _in_time(self, work: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(work, self._config.timeout_s)
        except asyncio.TimeoutError as error:
            raise Refused("timeout", "no answer in time", "ask again, or allow more: timeout_s") from error
