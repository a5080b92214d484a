"""What the three programs on a computer share: errors, exit codes, JSON mode, progress."""
