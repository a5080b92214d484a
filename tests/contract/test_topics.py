"""Promises of contract.topics."""

import pytest

from contract.errors import TopicError
from contract.topics import ChunkTopic, Topics

TOPICS = Topics()
BLOB = "0123456789abcdef" * 2


def test_topics_are_spelled_as_documented() -> None:
    """The table of docs/mqtt.md, in code."""
    assert TOPICS.status("wishful-orange") == "coral/wishful-orange/status"
    assert TOPICS.prediction("a", "camera") == "coral/a/prediction/camera"
    assert TOPICS.model_desired("a") == "coral/a/model/desired"
    assert TOPICS.channel_desired("stable") == "coral/_channel/stable/desired"
    assert TOPICS.blob_index(BLOB) == f"coral/_blob/{BLOB}/index"
    assert TOPICS.blob_chunk(BLOB, 12) == f"coral/_blob/{BLOB}/12"
    assert TOPICS.data_info("fashion-mnist") == "coral/_data/fashion-mnist/info"
    assert TOPICS.data_part("fashion-mnist", 12) == "coral/_data/fashion-mnist/12"
    assert TOPICS.data_position("fashion-mnist") == "coral/_data/fashion-mnist/position"
    assert TOPICS.training("first", "cnn3") == "coral/_train/first/cnn3"
    assert TOPICS.every_device("prediction/#") == "coral/+/prediction/#"
    assert Topics("plant/hall-1").infer("a") == "plant/hall-1/a/infer"


@pytest.mark.parametrize("device", ["", "A", "-a", "a/b", "a+", "#", "ä", "a" * 64, "a\n", "_channel", None])
def test_a_device_id_that_cannot_stand_in_a_topic_is_refused(device: str) -> None:
    """No name can reach another's topics."""
    with pytest.raises(TopicError, match="device id"):
        TOPICS.status(device)


@pytest.mark.parametrize("base", ["", "/coral", "coral/", "a//b", "+", "coral/#"])
def test_a_base_with_wildcards_or_empty_levels_is_refused(base: str) -> None:
    """The base is checked once, when Topics is made."""
    with pytest.raises(TopicError, match="base topic"):
        Topics(base)


def test_blob_topics_are_parsed_back() -> None:
    """Index and chunks are told apart."""
    assert TOPICS.parse_chunk(TOPICS.blob_index(BLOB)) == ChunkTopic(BLOB, None)
    assert TOPICS.parse_chunk(TOPICS.blob_chunk(BLOB, 0)) == ChunkTopic(BLOB, 0)
    assert TOPICS.parse_chunk(TOPICS.blob_chunk(BLOB, 511)) == ChunkTopic(BLOB, 511)


@pytest.mark.parametrize("last", ["-1", "01", "1e3", "", "999999", "index/", "\u0661"])
def test_a_strange_chunk_number_is_refused(last: str) -> None:
    """Negative numbers, leading zeros and other digits are not chunk numbers."""
    with pytest.raises(TopicError):
        TOPICS.parse_chunk(f"coral/_blob/{BLOB}/{last}")


def test_the_device_of_a_topic_is_found() -> None:
    """Reserved names are not devices."""
    assert TOPICS.parse_device("coral/a/model/need") == "a"
    for topic in ("coral/_channel/stable/desired", "other/a/status", "coral/a"[:5]):
        with pytest.raises(TopicError):
            TOPICS.parse_device(topic)


def test_a_device_answers_only_where_it_may() -> None:
    """A requester cannot make a device publish with its rights elsewhere."""
    allowed = ["coral/_client/me", "coral/_client/me/7", "coral/a/infer/response"]
    refused = [
        "coral/b/infer/response",
        "coral/a/status",
        "coral/_client",
        "coral/_client/",
        "coral/_client/+",
    ]
    refused += ["x/_client/me", "coral/_clients/me", "coral/_client/" + "x" * 300, "coral/_client/#", ""]
    assert all(TOPICS.is_reply_allowed(topic, "a") for topic in allowed)
    assert not any(TOPICS.is_reply_allowed(topic, "a") for topic in refused)
