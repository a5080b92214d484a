"""Promises of edge_agent.models: what its lanes may do."""

from dataclasses import replace
from pathlib import Path

from edge_agent.config import SHADOW, ShadowConfig
from edge_agent.models import Models
from edge_agent.updates.trust import Trust
from tests.edge_agent.running_agent import configure
from tests.fakes.board import BOOT, FakeClock
from tests.fakes.broker import FakeBroker, FakeLink
from tests.fakes.publisher import Publisher


def test_only_models_that_answer_may_restart_the_service(tmp_path: Path) -> None:
    """A shadow model that hangs again and again must not stop the others."""
    config, link = configure(tmp_path / "state"), FakeLink(FakeBroker())
    models = Models(
        replace(config, shadow=ShadowConfig("next")),
        trust=Trust(config, Publisher().root, link),
        link=link,
        clock=FakeClock(),
        boot=BOOT,
        publish=lambda prediction, _asked: prediction,
        on_disagreement=print,
        post=print,
    )
    may = {name: lane._resident._means.restart_service is not None for name, lane in models.lanes.items()}
    assert may == {"": True, SHADOW: False}
