"""A run as a Kubeflow Pipelines v2 pipeline."""
