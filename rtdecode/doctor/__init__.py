"""``rtdecode doctor``: is this machine fit for a session, and what to do where it is not."""

from rtdecode.doctor.command import doctor

__all__ = ["doctor"]
