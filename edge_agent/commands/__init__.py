"""What `edge-agent` does beside running: classify, detect, models."""
