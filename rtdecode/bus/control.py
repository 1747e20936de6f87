"""Questions to a running service."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal, Self

import zmq
from pydantic import ValidationError

from rtdecode.bus.sockets import client_keys, milliseconds, open_socket
from rtdecode.contracts import BadChannels, ControlReply, ControlRequest
from rtdecode.errors import UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rtdecode.contracts import DecoderManifest, Missed, StatusMessage


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
        self._socket: zmq.Socket[bytes] | None = None

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

    def declare_bad(self, stream: str, channels: Sequence[str]) -> None:
        """Declare channels of a stream bad, all that are: what is not among them is taken back."""
        declared = BadChannels(stream=stream, channels=tuple(channels))
        self._ask_for_frames(ControlRequest(op="bad_channels", bad_channels=declared))

    def stop(self) -> None:
        """Ask the service to stop; it answers before it does."""
        self._ask("stop")

    def replay(self, missed: Missed) -> list[list[bytes]]:
        """Ask for messages that did not come.

        Returns
        -------
        The frames of each as they were on the bus, in order; the first ones of the range, where all would be
        too many, and only those that the service still keeps: none at all means that the rest is gone.
        """
        reply, frames = self._ask_for_frames(ControlRequest(op="replay", missed=missed))
        counts = reply.replayed or ()
        if sum(counts) != len(frames):
            raise UserError(f"the service at {self._endpoint} replayed {len(frames)} frames, not as it says")
        rest = iter(frames)
        return [list(islice(rest, count)) for count in counts]

    def close(self) -> None:
        """Disconnect."""
        self._disconnect()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _ask(self, op: Literal["status", "decoders", "stop"]) -> ControlReply:
        return self._ask_for_frames(ControlRequest(op=op))[0]

    def _ask_for_frames(self, request: ControlRequest) -> tuple[ControlReply, list[bytes]]:
        if self._socket is None:
            self._socket = open_socket(self._context, zmq.REQ, self._endpoint, self._keys)
            # Where keys were refused there is nobody to send to, and a plain send would wait for ever.
            self._socket.setsockopt(zmq.SNDTIMEO, self._timeout_ms)
            self._socket.connect(self._endpoint)
        try:
            self._socket.send(request.model_dump_json(exclude_none=True).encode())
            answered = self._socket.poll(self._timeout_ms)
        except zmq.Again:
            answered = 0
        if not answered:
            # An unanswered REQ socket is stuck, and DEALER could give a late answer to the wrong question.
            self._disconnect()
            raise NoAnswerError(
                f"no service answers at {self._endpoint}: start one with `rtdecode serve`, or name "
                "its control_port (--control-port)"
                + (
                    ", or give this client's keys if it demands them"
                    if self._keys is None
                    else ", or put this client's key among those that it allows"
                )
            )
        body, *frames = self._socket.recv_multipart()
        try:
            reply = ControlReply.model_validate_json(body, strict=True)
        except ValidationError as error:
            raise UserError(
                f"the service at {self._endpoint} speaks another version: {validation_line(error)}"
            ) from error
        if not reply.ok:
            raise UserError(f"the service at {self._endpoint} declined: {reply.error}")
        return reply, frames

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
