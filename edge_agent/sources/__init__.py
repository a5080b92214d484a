"""Sources that ask by themselves: a watched folder, a camera. They are answered as everybody else."""
