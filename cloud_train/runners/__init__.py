"""Where the trainers of a run work: each runner takes the same jobs."""
