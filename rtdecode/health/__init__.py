"""What monitors ask: does the service live, would it answer, how well does it do."""
