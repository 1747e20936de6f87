"""The one way to write outputs: under a temporary name, moved into place only when complete."""

from __future__ import annotations

import errno
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file, replacing an older one only when the new one is complete; folders above it are made.

    Parameters
    ----------
    path
        Where. A link is followed; a device or a pipe is written to as it is.
    data
        Text is written as UTF-8, with line ends as they are.

    Raises
    ------
    UserError
        If it cannot be written; an older file is left as it was.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(content)
            return
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(target, "part")
        try:
            with part.open("xb") as file:
                file.write(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_writable(path: Path) -> None:
    """Check, before long work, that an output can be written; folders above it are made.

    Raises
    ------
    UserError
        If it cannot.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = _beside(target, "part")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Make a folder, replacing an older one only when the new one is complete; folders above it are made.

    Whether the older one may go is for the caller to decide, before: all that it holds is lost.

    Parameters
    ----------
    path
        Where. A link is followed.

    Yields
    ------
    An empty folder beside it to write into. It is moved to ``path`` when the block ends, and removed when the
    block fails.

    Raises
    ------
    UserError
        If something cannot be written, or a file of that name is in the way; an older folder is left as it
        was.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_dir():
            raise UserError(
                f"cannot write the folder {path}: a file of that name is in the way; name another"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _beside(target, "part")
        part.mkdir()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        try:
            yield part
        except OSError as error:
            if error.filename is None or Path(error.filename).is_relative_to(part):
                raise cannot_write(path, error) from error
            raise  # something else that the block read or wrote
        try:
            _move_over(part, target)
        except OSError as error:
            raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move_over(part: Path, target: Path) -> None:
    """Move a folder to where another may be: no system replaces a folder that holds something in one step."""
    if not target.exists():
        part.rename(target)
        return
    older = _beside(target, "replaced")
    target.rename(older)
    try:
        part.rename(target)
    except BaseException:
        older.rename(target)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _beside(target: Path, why: str) -> Path:
    """Name that nothing has, in the same folder and so on the same disk."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.{why}")


def cannot_write(path: Path, error: OSError) -> UserError:
    """What to tell the user who named a place that cannot be written."""
    reason = error.strerror or str(error).partition("\n")[0]
    free = "free some space there, or " if error.errno == errno.ENOSPC else ""
    return UserError(f"cannot write {path}: {reason}; {free}name another place")
