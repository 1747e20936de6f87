"""``python -m rtdecode``."""

from rtdecode.cli import main

main()
