"""Datasets: public ones, the built-in rendered world with its encoder, and simulated subjects."""
