"""A real broker, as the tests of `deploy` have it."""

from tests.deploy.conftest import address, base, link, topics

__all__ = ["address", "base", "link", "topics"]
