"""One model on one computer: what can be trained, how, and the weights it leaves."""
