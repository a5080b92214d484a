"""`edge-agent doctor`: looks at a board, changes nothing that the agent keeps, says what mends it."""
