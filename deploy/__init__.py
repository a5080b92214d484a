"""From a bundle to a fleet of boards."""
