"""A mosquitto for one computer or a fleet: its files, its rights, its process."""
