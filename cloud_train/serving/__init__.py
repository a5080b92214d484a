"""A trained model behind HTTP: for people a page, for programs two protocols."""
