"""Promises of serving.batching: who waits together shares a call, and everybody gets his own answer."""

import asyncio
import threading

import numpy as np
import pytest

from cloud_train.serving.batching import Batcher
from cloud_train.serving.served_model import Tensor


class Doubler:
    """A model that doubles its input, one call at a time, when a test lets it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_broken = False

    def run(self, inputs: Tensor) -> Tensor:
        self.may_go_on.wait(10)
        if self.is_broken:
            raise RuntimeError("broken")
        return 2 * inputs


def batcher_of(model: Doubler) -> Batcher:
    return Batcher(model.run, max_batch=4, count_batch=model.sizes.append)


def numbers(*values: float) -> Tensor:
    return np.array(values, np.float32).reshape(-1, 1)


def test_many_share_a_call_and_get_their_own_answer() -> None:
    """The first is computed alone; what came meanwhile goes in batches of at most four."""
    model = Doubler()

    async def story() -> list[Tensor]:
        batcher = batcher_of(model)
        async with batcher.running():
            model.may_go_on.clear()
            asked = [asyncio.create_task(batcher.ask(numbers(0)))]
            await asyncio.sleep(0.05)
            asked += [asyncio.create_task(batcher.ask(numbers(value))) for value in (1, 2, 3)]
            asked.append(asyncio.create_task(batcher.ask(numbers(4, 5))))
            await asyncio.sleep(0)
            model.may_go_on.set()
            return await asyncio.gather(*asked)

    answers = asyncio.run(story())
    assert [answer.ravel().tolist() for answer in answers] == [[0], [2], [4], [6], [8, 10]]
    assert model.sizes == [1, 3, 2]


def test_who_has_gone_is_not_computed() -> None:
    """A client that timed out costs the model nothing more."""
    model = Doubler()

    async def story() -> Tensor:
        batcher = batcher_of(model)
        async with batcher.running():
            model.may_go_on.clear()
            first = asyncio.create_task(batcher.ask(numbers(0)))
            await asyncio.sleep(0.05)
            gone, stays = (asyncio.create_task(batcher.ask(numbers(value))) for value in (1, 2))
            await asyncio.sleep(0)
            gone.cancel()
            model.may_go_on.set()
            await first
            return await stays

    assert asyncio.run(story()).tolist() == [[4]]
    assert model.sizes == [1, 1]


def test_an_error_of_the_model_goes_to_those_who_asked() -> None:
    """And the next one is answered."""
    model = Doubler()

    async def story() -> Tensor:
        batcher = batcher_of(model)
        async with batcher.running():
            model.is_broken = True
            with pytest.raises(RuntimeError, match="broken"):
                await batcher.ask(numbers(1))
            model.is_broken = False
            return await batcher.ask(numbers(1))

    assert asyncio.run(story()).tolist() == [[2]]
