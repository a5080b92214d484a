"""The fleet's keys, roots of trust, certificates, and what they sign."""
