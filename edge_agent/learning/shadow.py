"""A model on probation: it sees a sample of the main model's inputs, is compared, never answers."""

import collections
import random
import statistics
from typing import Callable, Deque, Optional, Union

from contract.messages import Prediction, Problem
from contract.telemetry import ShadowResult
from edge_agent.clock import Clock
from edge_agent.config import ShadowConfig
from edge_agent.events import InferenceAsked
from edge_agent.inference.predictor import Predictor

SOURCE = "shadow"
_NEWEST = 32
_REST_S = 60.0


class Shadow:
    """Asks the shadow model after the main one has answered, one question at a time, while there is room.

    An input is skipped while the shadow model is busy, while clients wait for the main model, while the board
    is too warm, and for a minute after its newest answers took too long. It belongs to the agent's loop.
    """

    def __init__(
        self,
        config: ShadowConfig,
        *,
        main: Predictor,
        shadow: Predictor,
        clock: Clock,
        read_temperature: Callable[[], Optional[float]],
        on_disagreement: Callable[[Prediction], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Prepare.

        Args:
            config: the sample's share, and the budget.
            main: answers the clients.
            shadow: is compared with it.
            clock: the time.
            read_temperature: returns the board's highest temperature in degrees Celsius, or None.
            on_disagreement: takes the main model's prediction when the shadow model saw something else.
            draw: returns a number from 0 to 1.
        """
        self._config = config
        self._main = main
        self._shadow = shadow
        self._clock = clock
        self._read_temperature = read_temperature
        self._on_disagreement = on_disagreement
        self._draw = draw
        self._is_busy = False
        self._rest_until_s = 0.0
        self._forget("")

    @property
    def result(self) -> Optional[ShadowResult]:
        """How the shadow model of this version does so far; None before it has seen anything."""
        if not self._version:
            return None
        p50_ms = statistics.median(self._newest_ms) if self._newest_ms else 0.0
        return ShadowResult(self._version, self._compared, self._agreed, self._skipped, p50_ms)

    def watch(self, asked: InferenceAsked) -> InferenceAsked:
        """Return the same question; when it has been answered, the shadow model may be asked too."""

        def answer(result: Union[Prediction, Problem]) -> None:
            asked.answer(result)
            if isinstance(result, Prediction) and self._draw() < self._config.share:
                self._show(asked, result)

        return asked._replace(answer=answer)

    def _show(self, asked: InferenceAsked, prediction: Prediction) -> None:
        serving = self._shadow.serving
        if serving is None:
            return
        if serving.model.version.version != self._version:
            self._forget(serving.model.version.version)
        if not self._has_room():
            self._skipped += 1
            return
        self._is_busy = True

        def compare(result: Union[Prediction, Problem]) -> None:
            self._is_busy = False
            self._compare(prediction, result)

        now_s = self._clock.monotonic_s()
        self._shadow.ask(InferenceAsked(asked.kind, asked.payload, SOURCE, now_s, compare))

    def _has_room(self) -> bool:
        if self._is_busy or self._main.queue_length or self._clock.monotonic_s() < self._rest_until_s:
            return False
        temperature_c = self._read_temperature()
        return temperature_c is None or temperature_c <= self._config.max_temp_c

    def _compare(self, prediction: Prediction, result: Union[Prediction, Problem]) -> None:
        if isinstance(result, Problem) or result.model.version != self._version:
            # An input that only the main model can take, or the release changed meanwhile.
            self._skipped += 1
            return
        self._compared += 1
        self._newest_ms.append(result.latency_ms.total)
        if statistics.median(self._newest_ms) > self._config.max_latency_ms:
            self._rest_until_s = self._clock.monotonic_s() + _REST_S
        if result.label == prediction.label:
            self._agreed += 1
        else:
            self._on_disagreement(prediction)

    def _forget(self, version: str) -> None:
        self._version = version
        self._compared = self._agreed = self._skipped = 0
        self._newest_ms: Deque[float] = collections.deque(maxlen=_NEWEST)
