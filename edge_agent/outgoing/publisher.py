"""Brings predictions to the broker: which, under which number, and what is retained of each source.

The numbers are given last: a gap in them is a loss, so what is held back takes none.
"""

from typing import Callable, Dict, Optional

from contract.codec import encode
from contract.messages import Prediction
from contract.records import change
from contract.topics import Topics
from edge_agent.clock import Clock
from edge_agent.config import AgentConfig
from edge_agent.events import IMAGE, InferenceAsked
from edge_agent.link import Link
from edge_agent.outgoing.publish_modes import OnChange, Throttle, build_mode
from edge_agent.source_config import SourceConfig

MAX_IMAGE_BYTES = 64 * 1024
STATE_INTERVAL_S = 1.0
IMAGE_INTERVAL_S = 5.0


class _Source:
    """What one source has said so far."""

    def __init__(self, config: SourceConfig) -> None:
        self.follow(config)
        self.state = OnChange(STATE_INTERVAL_S)
        self.image: Throttle[bytes] = Throttle(IMAGE_INTERVAL_S)
        self.told_state: Optional[Prediction] = None
        self.number = 0

    def follow(self, config: SourceConfig) -> None:
        """Publish by these rules."""
        self.config = config
        self.mode = build_mode(config)


class Publisher:
    """Takes every prediction and passes on what is to be published. It belongs to the agent's loop."""

    def __init__(
        self, config: AgentConfig, *, link: Link, clock: Clock, keep: Callable[[Prediction], None]
    ) -> None:
        """Prepare.

        Args:
            config: what each source publishes.
            link: takes what is retained.
            clock: the time.
            keep: takes what must reach the broker.
        """
        self._device = config.device
        self._configs = config.sources
        self._topics = Topics(config.mqtt.base)
        self._link = link
        self._clock = clock
        self._keep = keep
        self._sources: Dict[str, _Source] = {}

    def configure(self, config: AgentConfig) -> None:
        """Publish by other rules from now on, and what was held until now."""
        self._configs = config.sources
        for name, source in self._sources.items():
            rules = self._rules(name)
            if rules != source.config:
                self._keep_due(source, self._clock.monotonic_s(), is_last=True)
                source.follow(rules)

    def publish(self, prediction: Prediction, asked: InferenceAsked) -> Prediction:
        """Take a prediction without a number.

        Returns:
            What its asker shall have: with its number, or without one if it is held back.
        """
        source = self._source(prediction.source)
        if prediction.score < source.config.min_score:
            return prediction
        now_s = self._clock.monotonic_s()
        self._keep_due(source, now_s)
        source.mode.put(prediction)
        prediction = self._keep_due(source, now_s) or prediction
        source.state.put(prediction)
        if source.config.image and asked.kind == IMAGE and len(asked.payload) <= MAX_IMAGE_BYTES:
            source.image.put(asked.payload)
        self._tell_due(prediction.source, source, now_s)
        return prediction

    def tick(self) -> None:
        """Publish what was held until now. To be called at least four times a second."""
        now_s = self._clock.monotonic_s()
        for name, source in self._sources.items():
            self._keep_due(source, now_s)
            self._tell_due(name, source, now_s)

    def connected(self) -> None:
        """Say again what is retained: the link drops what is said while there is none."""
        for source in self._sources.values():
            if source.told_state is not None:
                self._tell_state(source.told_state)

    def flush(self) -> None:
        """Publish what is held: nothing comes after it."""
        for source in self._sources.values():
            self._keep_due(source, self._clock.monotonic_s(), is_last=True)

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source(self._rules(name))
        return source

    def _rules(self, name: str) -> SourceConfig:
        return self._configs.get(name) or SourceConfig()

    def _keep_due(self, source: _Source, now_s: float, is_last: bool = False) -> Optional[Prediction]:
        prediction = source.mode.take(now_s, is_last)
        if prediction is None:
            return None
        source.number += 1
        prediction = change(prediction, seq=source.number)
        self._keep(prediction)
        return prediction

    def _tell_due(self, name: str, source: _Source, now_s: float) -> None:
        prediction = source.state.take(now_s)
        if prediction is not None:
            source.told_state = prediction
            self._tell_state(prediction)
        image = source.image.take(now_s)
        if image is not None:
            self._link.publish(self._topics.image(self._device, name), image, retain=True, qos=0)

    def _tell_state(self, prediction: Prediction) -> None:
        topic = self._topics.state(self._device, prediction.source)
        self._link.publish(topic, encode(prediction), retain=True)
