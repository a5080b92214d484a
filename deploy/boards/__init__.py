"""Boards themselves: found, logged in to over SSH, given an identity and an agent, and remembered.

Three stories, to be read first; each names the steps that it is made of:
    enroll.py: a board becomes one of the fleet.
    flash.py: it gets the agent, and proves that it predicts; many.py does so with many boards.
    sdcard.py: both at a board's first boot, from a card.

All of them know a board by register.py, the fleet's book. Over SSH they reach it by connection.py, login.py
and shell.py, and look at it by survey.py.
"""
