"""From bytes to labels: the process that runs a model, and who hands it its work."""
