"""What leaves the board: which predictions, in which order, kept until they have arrived."""
