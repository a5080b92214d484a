"""The way to the broker: address, credentials, link."""
