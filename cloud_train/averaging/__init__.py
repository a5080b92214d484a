"""From many shard updates to one set of weights. Only numpy."""
