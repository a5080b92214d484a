"""What devices say: status, live predictions, results in SQL."""
