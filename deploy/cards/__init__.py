"""A card brings a board without a network into the fleet at its first boot; sdcard.py tells the story."""
