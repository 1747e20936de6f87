"""Folder of one session: what it holds, and the file that says under which circumstances it was recorded."""

from __future__ import annotations

import datetime as dt
import secrets
import shutil
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from rtdecode.contracts.base import Contract
from rtdecode.errors import UserError, validation_line
from rtdecode.machine import processor, versions
from rtdecode.output import cannot_write, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rtdecode.config import ServeConfig
    from rtdecode.decoder import Decoder

SESSION_FILE = "session.json"
RECORDING_FILE = "recording.xdf"
MESSAGES_FILE = "messages.jsonl"

PACKAGES = ("rtdecode", "numpy", "scipy", "onnxruntime", "onnxruntime-gpu", "pylsl")
"""What the bytes of an embedding may depend on, beside the processor and the decoder."""


class SessionDecoder(Contract):
    """A decoder of the session: its name, its file and the hash of that, and what it decoded where."""

    name: str
    file: str
    file_sha256: str
    stream: str
    stride_ms: float | None
    provider: str
    simulated: bool


class Session(Contract):
    """Content of ``session.json``.

    Parameters
    ----------
    started
        When, ISO 8601.
    host, boot_id
        As in the envelopes of the service's messages.
    processor, versions
        What the bytes of an embedding depend on, beside the decoder.
    simulated
        Whether anything in it is simulated.
    configuration
        The service's, as it was after the environment had its say.
    decoders
        Those that were loaded.
    table
        Name of the copy of the stimulus table in this folder, if there is one.
    """

    schema_version: Literal[1] = 1
    started: str
    host: str
    boot_id: str
    processor: str
    versions: dict[str, str]
    simulated: bool
    configuration: dict[str, Any]
    decoders: tuple[SessionDecoder, ...]
    table: str | None = None

    @classmethod
    def of(
        cls,
        config: ServeConfig,
        decoders: Mapping[str, Sequence[Decoder]],
        *,
        strides_ms: Mapping[tuple[str, str], float],
        boot_id: str,
        simulated: bool,
    ) -> Session:
        """Describe a session that starts now.

        Parameters
        ----------
        config
            The service's.
        decoders
            Decoders by stream identifier.
        strides_ms
            Strides of those in continuous mode, by stream and name, milliseconds.
        boot_id
            Of the service's envelopes.
        simulated
            Whether anything is simulated, as far as is known.
        """
        table = config.markers.table
        return cls(
            started=dt.datetime.now().astimezone().isoformat(timespec="milliseconds"),
            host=socket.gethostname(),
            boot_id=boot_id,
            processor=processor(),
            versions=versions(*PACKAGES),
            simulated=simulated,
            configuration=config.model_dump(mode="json"),
            decoders=tuple(
                SessionDecoder(
                    name=decoder.name,
                    file=str(decoder.path),
                    file_sha256=decoder.sha256,
                    stream=stream,
                    stride_ms=strides_ms.get((stream, decoder.name)),
                    provider=decoder.provider,
                    simulated=decoder.manifest.simulated,
                )
                for stream, group in decoders.items()
                for decoder in group
            ),
            table=None if table is None else f"stimuli{table.suffix.lower()}",
        )

    @classmethod
    def load(cls, folder: Path) -> Session:
        """Read the file of a session's folder.

        Raises
        ------
        UserError
            If it is missing or damaged.
        """
        path = folder / SESSION_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"{folder} is no session of a journal: cannot read {path.name}: {error.strerror}"
            ) from error
        except ValidationError as error:
            raise UserError(f"{path} cannot be read: {validation_line(error)}") from error

    def save(self, folder: Path) -> None:
        """Write the file.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        write_file(folder / SESSION_FILE, self.model_dump_json(indent=2) + "\n")


def make_folder(root: Path, session: Session, table: Path | None) -> Path:
    """Make a session's folder, named by its start, with ``session.json`` and a copy of the stimulus table.

    Raises
    ------
    UserError
        If it cannot be written; nothing of it stays.
    """
    start = dt.datetime.fromisoformat(session.started).strftime("%Y-%m-%dT%H-%M-%S")
    folder = root / f"{start}_{secrets.token_hex(2)}"
    while folder.exists():
        folder = root / f"{start}_{secrets.token_hex(2)}"
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if table is not None and session.table is not None:
                shutil.copyfile(table, folder / session.table)
        except OSError as error:
            raise cannot_write(folder, error) from error
        session.save(folder)
        stack.pop_all()
    return folder
