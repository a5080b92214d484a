"""A board gets the agent and proves that it predicts: flash.py for one board, many.py for many at once."""
