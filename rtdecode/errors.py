"""The errors that a user can cause and mend."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; its text is one line that says what to do.

    The command line prints the text alone and exits with code 2; ``--debug`` shows the traceback.
    """


class MismatchError(UserError):
    """Two things that must fit (stream and decoder, decoder and gallery) do not; the text says where."""
