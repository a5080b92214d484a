"""The rights cover the whole contract: no topic is forgotten when one is added."""

import inspect
import re

import pytest

from contract.topics import Topics
from deploy.trust.broker_rights import WRITE, build_acl, list_rights

GIVEN = {"device": "reef-1", "blob_id": "0123456789abcdef" * 2, "number": 7, "version": 2}
HELPERS = ("parse_", "every_", "is_")


def topics_of_the_contract():
    """Return every topic that contract.topics builds, by the name of its method."""
    topics, found = Topics(), {}
    for name, method in inspect.getmembers(topics, inspect.ismethod):
        if not name.startswith(("_", *HELPERS)):
            needed = [
                one.name
                for one in inspect.signature(method).parameters.values()
                if one.default is inspect.Parameter.empty
            ]
            found[name] = method(*(GIVEN.get(one, "some-name") for one in needed))
    return found


def fits(topic, pattern):
    """Say whether a topic is below a filter of the ACL file, for the device itself."""
    pattern = re.escape(pattern.replace("%u", "reef-1")).replace(r"\+", "[^/]+").replace("/\\#", "(/.*)?")
    return re.fullmatch(pattern, topic) is not None


@pytest.mark.parametrize(("name", "topic"), topics_of_the_contract().items())
def test_somebody_may_write_it_and_somebody_else_reads_it(name, topic):
    """A topic that nobody may use is of no use; who writes it is not the only one who reads it."""
    rights = [
        (who, right) for who, rights in list_rights().items() for right in rights if fits(topic, right.topic)
    ]
    writers = {who for who, right in rights if right.access == WRITE}
    readers = {who for who, right in rights if right.access != WRITE}
    assert writers and readers - writers


def test_the_base_can_be_another():
    """Home Assistant's topics stay where they are."""
    acl = build_acl("lab/floor2")
    assert "pattern write lab/floor2/%u/status" in acl and "coral/" not in acl
    assert "pattern write homeassistant/device/coral_%u/config" in acl


def test_nothing_stands_for_a_name_any_more():
    """What the rules are built with never reaches the file."""
    assert not re.search(r"any-name|own-name|0{32}|10{9}", build_acl())
