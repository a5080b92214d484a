"""What two Reefline programs agree on. No I/O, no clock, only the standard library."""

__version__ = "0.1.0"
