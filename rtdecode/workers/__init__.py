"""Processes that answer what the service publishes."""
