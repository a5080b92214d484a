"""The data bus: samples stream over MQTT to any number of models, each learns from them and says how well."""
