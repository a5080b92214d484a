"""For the people who look after a board: problems, telemetry, settings, Home Assistant."""
