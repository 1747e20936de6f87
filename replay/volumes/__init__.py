"""Volumes of a running scan, as files in a folder, become an LSL stream."""
