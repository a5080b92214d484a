"""Data sets: where they come from, how they are cut into shards, and the files that hold them."""
