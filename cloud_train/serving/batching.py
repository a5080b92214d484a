"""Many requests, one model: what waits together is answered together."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from cloud_train.serving.served_model import Tensor


class _Waiting(NamedTuple):
    """A question and where its answer goes."""

    inputs: Tensor
    answer: "asyncio.Future[Tensor]"


class Batcher:
    """Runs the model in a thread of its own, so that the event loop never waits for it.

    While one batch is computed the next one gathers: a lone request waits for nobody, and many share a call.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        *,
        max_batch: int,
        count_batch: Callable[[int], None],
    ) -> None:
        """Prepare.

        Args:
            run: turns inputs (N, ...) into scores (N, labels); called in one thread at a time.
            max_batch: the largest N.
            count_batch: is told the N of every call.
        """
        self._run = run
        self._max_batch = max_batch
        self._count_batch = count_batch
        self._waiting: deque[_Waiting] = deque()
        self._is_wanted = asyncio.Event()

    async def ask(self, inputs: Tensor) -> Tensor:
        """Return the scores (N, labels) of inputs (N, ...), N at most `max_batch`; may be cancelled."""
        answer: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(inputs, answer))
        self._is_wanted.set()
        return await answer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer questions while the block runs."""
        with ThreadPoolExecutor(1, "model") as thread:
            task = asyncio.create_task(self._serve(thread))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _serve(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._is_wanted.wait()
            if batch := self._take():
                await self._answer(batch, thread)
            else:
                self._is_wanted.clear()

    def _take(self) -> list[_Waiting]:
        """Take what fits into one batch; whoever has gone meanwhile is left out."""
        batch: list[_Waiting] = []
        count = 0
        while self._waiting and count + len(self._waiting[0].inputs) <= self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                count += len(waiting.inputs)
        return batch

    async def _answer(self, batch: list[_Waiting], thread: ThreadPoolExecutor) -> None:
        inputs = np.concatenate([waiting.inputs for waiting in batch])
        self._count_batch(len(inputs))
        loop = asyncio.get_running_loop()
        try:
            scores = await loop.run_in_executor(thread, self._run, inputs)
        except Exception as error:  # whatever TensorFlow raises is told to those who asked, not to the loop
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        ends = np.cumsum([len(waiting.inputs) for waiting in batch])[:-1]
        for waiting, part in zip(batch, np.split(scores, ends), strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(part)
