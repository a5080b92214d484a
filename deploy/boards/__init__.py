"""Boards themselves: found, logged in to over SSH, given an identity, and remembered."""
