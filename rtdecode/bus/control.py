"""Questions to a running service."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, Self

import zmq
from pydantic import ValidationError

from rtdecode.bus.sockets import client_keys, milliseconds, open_socket
from rtdecode.contracts import ControlReply, ControlRequest
from rtdecode.errors import UserError, validation_line

if TYPE_CHECKING:
    from pathlib import Path

    from rtdecode.contracts import DecoderManifest, StatusMessage


class NoAnswerError(UserError):
    """No service answers there."""


class ControlClient:
    """Asks a service, one question at a time; one thread owns it.

    Every question raises :class:`NoAnswerError` if nobody answers in time, and :class:`UserError` if the
    service declines.

    Parameters
    ----------
    endpoint
        The broker's address for control.
    timeout_s
        How long to wait for each answer.
    keys
        This client's file of ``rtdecode keys``, where the service demands keys.
    """

    def __init__(self, endpoint: str, timeout_s: float = 2.0, *, keys: Path | None = None) -> None:
        self._endpoint = endpoint
        self._keys = client_keys(keys, endpoint)
        self._timeout_ms = milliseconds(timeout_s)
        self._context = zmq.Context()

    def status(self) -> StatusMessage:
        """Ask how the service is."""
        status = self._ask("status").status
        if status is None:
            raise UserError(f"the service at {self._endpoint} answered without its status")
        return status

    def decoders(self) -> dict[str, DecoderManifest]:
        """Ask for the manifests of the running decoders, by the hash of their files."""
        decoders = self._ask("decoders").decoders
        if decoders is None:
            raise UserError(f"the service at {self._endpoint} answered without its decoders")
        return decoders

    def stop(self) -> None:
        """Ask the service to stop; it answers before it does."""
        self._ask("stop")

    def close(self) -> None:
        """Disconnect."""
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, op: Literal["status", "decoders", "stop"]) -> ControlReply:
        # A fresh socket a question: after an unanswered one, REQ would be stuck, and DEALER could give a
        # late answer to the wrong question.
        with open_socket(self._context, zmq.REQ, self._endpoint, self._keys) as socket:
            # Where keys were refused there is nobody to send to, and a plain send would wait for ever.
            socket.setsockopt(zmq.SNDTIMEO, self._timeout_ms)
            socket.connect(self._endpoint)
            with contextlib.suppress(zmq.Again):
                socket.send(ControlRequest(op=op).model_dump_json().encode())
            if not socket.poll(self._timeout_ms):
                raise NoAnswerError(
                    f"no service answers at {self._endpoint}: start one with `rtdecode serve`"
                    + ("" if self._keys is None else ", or put this client's key among those that it allows")
                )
            frames = socket.recv_multipart()
        try:
            reply = ControlReply.model_validate_json(frames[0], strict=True)
        except ValidationError as error:
            raise UserError(
                f"the service at {self._endpoint} speaks another version: {validation_line(error)}"
            ) from error
        if not reply.ok:
            raise UserError(f"the service at {self._endpoint} declined: {reply.error}")
        return reply
