"""Training: the loop, and one module for each of its parts."""
