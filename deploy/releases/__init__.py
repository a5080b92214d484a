"""From a bundle to what the broker keeps: sign, write down, publish, keep, go back."""
