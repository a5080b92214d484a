"""A runtime that misbehaves when told: put its folder on the PYTHONPATH of an inference process."""

__version__ = "0.fake"
