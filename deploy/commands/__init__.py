"""What each command of `deploy` reads and prints."""
