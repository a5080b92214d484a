"""A simulated device believes whom a real one would."""

from contract.topics import Topics
from edge_agent.config import AgentConfig, MqttConfig
from edge_agent.simulate.fleet import Fleet, Plan
from tests.edge_agent.running_agent import retain
from tests.fakes.publisher import Publisher, tiny_files

NAME = "sim-00000"
TOPICS = Topics()


def test_it_follows_to_a_new_root_and_takes_what_its_key_signs(broker):
    """The release key was replaced before the device was switched on for the first time."""
    port = broker("topic readwrite #")
    publisher = Publisher()
    first = publisher.root
    messages = [(TOPICS.trust_root(2), publisher.rotate("release"))]
    messages += [message for data in tiny_files().values() for message in publisher.messages(data)]
    messages += [(TOPICS.channel_desired("stable"), publisher.release(publisher.manifest()))]
    retain(port, messages)
    template = AgentConfig(NAME, "unused", "unused", mqtt=MqttConfig(port=port))
    fleet = Fleet(Plan([NAME], template, first, {}, until_active="1"))
    fleet.loop.after(20, fleet.loop.stop)
    census = fleet.run(lambda: None)
    assert census.running == {"1": 1}, census
