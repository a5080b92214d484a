"""Training samples stream over MQTT to several models, which say how well they do."""
