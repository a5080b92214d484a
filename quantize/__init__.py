"""From a float Keras model to a checked int8 bundle for the Edge TPU."""
