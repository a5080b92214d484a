"""Will it map? The rules of the Edge TPU and its compiler, applied to a .tflite file. Nothing is run."""
