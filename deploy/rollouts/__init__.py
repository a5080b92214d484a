"""A release in stages: the rules, the book, the controller."""
