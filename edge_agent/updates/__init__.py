"""How a release gets in: fetched, checked, tried, switched to, or refused."""
