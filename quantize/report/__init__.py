"""What a person reads about a bundle: the figures as JSON, and one self-contained page."""
