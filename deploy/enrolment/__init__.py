"""A board becomes one of the fleet: a name, a certificate, whom it trusts; enroll.py tells the story."""
