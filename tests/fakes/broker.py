"""An in-memory broker with retained messages, and the agent's end of a link to it."""

from typing import Callable, Dict, Iterable, List, Optional, Tuple

from edge_agent.events import MessageArrived, SubscriptionAnswered


class FakeBroker:
    """Keeps what is retained and remembers what was published."""

    def __init__(self) -> None:
        self.retained: Dict[str, bytes] = {}
        self.published: List[Tuple[str, bytes]] = []

    def retain(self, messages: Iterable[Tuple[str, bytes]]) -> None:
        """Publish retained messages before anybody listens."""
        self.retained.update(messages)


class FakeLink:
    """What edge_agent.link.Link offers, against a FakeBroker; messages wait until `deliver` is called."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.subscribed: List[str] = []
        self.waiting: List[MessageArrived] = []
        self.acknowledged: List[str] = []
        self.most_subscribed = 0
        self.has_retained = True
        self.is_clogged = False

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, correlation: bytes = b""
    ) -> Optional[int]:
        self.broker.published.append((topic, payload))
        if retain:
            self.broker.retained[topic] = payload
        return len(self.broker.published)

    def subscribe(self, topics: Iterable[str]) -> None:
        for topic in topics:
            if topic not in self.subscribed:
                self.subscribed.append(topic)
            if topic in self.broker.retained:
                self.waiting.append(self.message(topic, self.broker.retained[topic]))
        self.most_subscribed = max(self.most_subscribed, len(self.subscribed))

    def unsubscribe(self, topics: Iterable[str]) -> None:
        for topic in topics:
            if topic in self.subscribed:
                self.subscribed.remove(topic)

    def refused_topics(self, _answer: SubscriptionAnswered) -> Tuple[str, ...]:
        return ()

    def message(self, topic: str, payload: bytes) -> MessageArrived:
        """Return a message as the link would post it."""
        return MessageArrived(topic, payload, True, lambda: self.acknowledged.append(topic))

    def deliver(self, take: Callable[[MessageArrived], None], at_most: int = 10**6) -> int:
        """Hand over what waits, one by one; return how many."""
        count = 0
        while self.waiting and count < at_most:
            take(self.waiting.pop(0))
            count += 1
        return count
