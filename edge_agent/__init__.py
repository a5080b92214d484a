"""The runtime on the board: receives models, answers predictions, reports back."""
