"""Boards themselves: found nearby, logged in to over SSH, looked at, and remembered in the fleet's book.

register.py is the book. connection.py, login.py and shell.py reach a board, survey.py looks at it,
packages.py knows which package of the agent fits it. The stories are in the rooms enrolment, flashing, cards.
"""
