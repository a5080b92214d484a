"""Answers clients here on the board: HTTP, the Open Inference Protocol, requests over MQTT."""
