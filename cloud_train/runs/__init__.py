"""The story of a run, the folder it leaves, and what it is compared with."""
