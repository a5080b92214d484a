"""What happens when a model ails: notice it, climb the ladder, answer from the CPU meanwhile."""
