"""Datasets: the built-in rendered world with its encoder, and simulated subjects who look at it."""
