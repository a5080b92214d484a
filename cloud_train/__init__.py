"""From data to one averaged Keras model."""
