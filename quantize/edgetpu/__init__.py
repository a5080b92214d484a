"""What is known of compiled models: the compiler, its files, and new weights in them."""
