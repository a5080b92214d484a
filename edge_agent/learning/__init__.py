"""What the next round learns from: hard examples, feedback, a model on probation."""
