"""What came in and what went out, on disk: a folder a session, which re-runs to the same answers."""
