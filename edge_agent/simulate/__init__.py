"""Many devices in one process, to rehearse a push or a rollout: everything is real but the inference."""
