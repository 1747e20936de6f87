"""Ways off the bus: every message in order, or only ever the newest."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Self, get_args

import zmq

from rtdecode.bus.control import ControlClient
from rtdecode.bus.sockets import PROBE, SERVICE, WELCOME, client_keys, milliseconds, open_socket
from rtdecode.bus.wire import WireError, decode
from rtdecode.contracts import AnyMessage, Missed, StatusMessage
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rtdecode.bus.wire import Received

_log = logging.getLogger(__name__)

KINDS: tuple[str, ...] = tuple(
    message.model_fields["kind"].default for message in get_args(get_args(AnyMessage)[0])
)
"""Kinds of messages on the bus."""

_STATUS = "status"

_Source = tuple[str, str, bytes]
"""What sequence numbers belong to: a publisher's start, its role, a topic."""

_TURNED_AWAY = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

_REPAIR_S = 1.0
"""How long an answer with missed messages may take."""

_MAX_TOPICS = 10_000
"""Topics whose sequence numbers are remembered; those heard first are forgotten."""

_SILENT_S = 5.0
"""Silence that a person is told of; a live service has a heartbeat each second."""

_WAKE_S = 0.2
"""How often an idle wait looks whether it should end; messages never wait for it."""


class Subscriber:
    """Receives every message of some kinds, in order and once; one thread owns it.

    It may connect before the broker is there, and connects again when the broker was restarted. Where
    sequence numbers jump it asks the service for what is missing, if it was told where, and delivers that
    first. Numbers in the service's heartbeat show a loss after which nothing more came.

    Parameters
    ----------
    endpoint
        The broker's address for subscribers.
    kinds
        Which messages: ``"embedding"``, ``"verdict"``, ``"marker"``, ``"retrieval"``, ``"alarm"``,
        ``"status"``.
    control
        The broker's address for control, to ask for messages that did not come. None only counts them.
    keys
        This client's file of ``rtdecode keys``, where the service demands keys.

    Attributes
    ----------
    joined
        Set while the subscription is in force: all that the broker publishes then arrives. A broker that goes
        away does not clear it, the one that follows does until it is in force there.
    lost
        Messages that never came, by the jumps in their sequence numbers.
    repaired
        Messages that came late, because they were asked for.
    refused
        Messages that were malformed.

    Raises
    ------
    ValueError
        If a kind does not exist.
    UserError
        If the address is another machine's and there are no keys.
    """

    def __init__(
        self,
        endpoint: str,
        kinds: Sequence[str] = ("embedding",),
        *,
        control: str | None = None,
        keys: Path | None = None,
    ) -> None:
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"no messages of kind {unknown[0]!r}; there are {', '.join(KINDS)}")
        secured = client_keys(keys, endpoint)
        self.joined = threading.Event()
        self.lost = 0
        self.repaired = 0
        self.refused = 0
        self._kinds = frozenset(kinds)
        self._next: dict[_Source, int] = {}
        self._heard_of: str | None = None  # boot of the service whose heartbeat has told all of its topics
        self._ready: deque[Received | Missed] = deque()
        self._probe = b""
        self._control = None if control is None else ControlClient(control, _REPAIR_S, keys=keys)
        self._context = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB, endpoint, secured)
        for kind in {*kinds, _STATUS}:
            self._socket.subscribe(f"{kind}/")
        self._socket.subscribe(WELCOME)
        self._endpoint = endpoint
        self._secured = secured is not None
        self._turned_away: zmq.Socket[bytes] | None = self._socket.get_monitor_socket(_TURNED_AWAY)
        self._heard_at = time.monotonic()
        self._is_told = False  # that nothing comes
        self._socket.connect(endpoint)

    def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the subscription is in force; False if it is not within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not self.joined.is_set() and self._take_next(timeout_s):
            timeout_s = max(0.0, deadline - time.monotonic())
        return self.joined.is_set()

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next message, or None if none comes within ``timeout_s``.

        Where messages are missing, the service has a second more to give them.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            while self._ready:
                item = self._ready.popleft()
                if not isinstance(item, Missed):
                    return item
                self._repair(item)
            if timeout_s < 0 or not self._take_next(timeout_s):
                return None
            timeout_s = deadline - time.monotonic()

    def __iter__(self) -> Iterator[Received]:
        """Yield messages without end."""
        while True:
            # Not one endless wait: Windows would not deliver Ctrl-C.
            received = self.receive(_WAKE_S)
            if received is not None:
                yield received

    def close(self) -> None:
        """Disconnect; what was not received is dropped."""
        self._watch_the_door_no_more()
        self._socket.close()
        self._context.term()
        if self._control is not None:
            self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _take_next(self, timeout_s: float) -> bool:
        """Wait for whatever comes next, and take it; False if nothing comes."""
        if not self._socket.poll(milliseconds(timeout_s)):
            self._tell_if_turned_away()
            self._tell_if_silent()
            return False
        self._heard_at, self._is_told = time.monotonic(), False
        frames = self._socket.recv_multipart()
        if frames == [WELCOME]:
            self._probe_anew()
        elif len(frames) == 1 and frames[0].startswith(PROBE):
            self._join(frames[0])
        else:
            try:
                self._sort_in(decode(frames))
            except WireError as error:
                self._refuse(error)
        return True

    def _probe_anew(self) -> None:
        # There is a connection, so the subscriptions are on their way; a probe sent now comes after them.
        self.joined.clear()
        if self._probe:
            self._socket.unsubscribe(self._probe)
        self._probe = PROBE + uuid.uuid4().hex.encode()
        self._socket.subscribe(self._probe)

    def _join(self, probe: bytes) -> None:
        if probe == self._probe:  # else it answers a probe from before the connection was lost
            self._socket.unsubscribe(self._probe)
            self._probe = b""
            self.joined.set()
            while self._turned_away is not None and self._turned_away.poll(0):
                self._turned_away.recv_multipart()  # of a service that is no more

    def _sort_in(self, received: Received) -> None:
        """Make a message ready, after what should have come before it."""
        message = received.message
        if isinstance(message, StatusMessage) and message.publisher == SERVICE and self.joined.is_set():
            self._compare(message)
        source = (message.boot_id, message.publisher, received.topic)
        expected = self._next.get(source)
        if expected is None:  # it joined late, and what came before was not meant for it; or it is new
            expected = 0 if message.boot_id == self._heard_of else message.sequence
        if message.sequence < expected:
            return  # it was delivered, or given up
        self._miss(source, expected, message.sequence)
        self._remember(source, message.sequence + 1)
        if message.kind in self._kinds:
            self._ready.append(received)

    def _compare(self, status: StatusMessage) -> None:
        """Find what should have come before a heartbeat, by the sequence numbers that it tells."""
        for topic, following in status.sequences.items():
            source = (status.boot_id, SERVICE, topic.encode())
            expected = self._next.get(source)
            if expected is None:
                expected = 0 if status.boot_id == self._heard_of else following
            if following >= expected:
                self._miss(source, expected, following)
                self._remember(source, following)
        self._heard_of = status.boot_id

    def _remember(self, source: _Source, following: int) -> None:
        self._next[source] = following
        if len(self._next) > _MAX_TOPICS:
            del self._next[next(iter(self._next))]

    def _miss(self, source: _Source, expected: int, following: int) -> None:
        boot_id, publisher, topic = source
        if expected == following or topic.partition(b"/")[0].decode() not in self._kinds:
            return
        if self._control is None:
            self.lost += following - expected
            return
        self._ready.append(
            Missed(
                boot_id=boot_id,
                publisher=publisher,
                topic=topic.decode(),
                first=expected,
                last=following - 1,
            )
        )

    def _repair(self, missed: Missed) -> None:
        """Ask for what is missing, and make ready what comes; the rest is asked for in its turn, or lost."""
        assert self._control is not None  # noqa: S101
        found: list[Received | Missed] = []
        expected = missed.first
        try:
            for frames in self._control.replay(missed):
                received = decode(frames)
                message = received.message
                belongs = (message.boot_id, message.publisher, received.topic.decode()) == (
                    missed.boot_id,
                    missed.publisher,
                    missed.topic,
                )
                if not belongs or not expected <= message.sequence <= missed.last:
                    raise WireError("the service replayed what was not asked for")
                self.lost += message.sequence - expected
                expected = message.sequence + 1
                found.append(received)
        except WireError as error:
            self._refuse(error)
        except UserError as error:
            _log.warning("missed messages are lost: %s", error)
        self.repaired += len(found)
        if found and expected <= missed.last:
            found.append(missed.model_copy(update={"first": expected}))
        else:
            self.lost += missed.last + 1 - expected
        self._ready.extendleft(reversed(found))

    def _tell_if_turned_away(self) -> None:
        """Say once why nothing comes, where the service shut the door."""
        if self._turned_away is None or not self._turned_away.poll(0):
            return
        self._watch_the_door_no_more()
        self._is_told = True
        _log.warning(
            "the service at %s turns this client away: %s",
            self._endpoint,
            "it does not allow this client's key, or another service is meant by it"
            if self._secured
            else "it demands keys; name this client's file",
        )

    def _tell_if_silent(self) -> None:
        """Say once in each silence that nothing comes."""
        if self._is_told or time.monotonic() - self._heard_at < _SILENT_S:
            return
        self._is_told = True
        _log.warning(
            "nothing has come from the service at %s for %g s: it has gone, or waits for its streams"
            if self.joined.is_set()
            else "no service answers at %s for %g s: start `rtdecode serve`, or name its publish_port",
            self._endpoint,
            _SILENT_S,
        )

    def _watch_the_door_no_more(self) -> None:
        if self._turned_away is not None:
            self._socket.disable_monitor()
            self._turned_away.close()
            self._turned_away = None

    def _refuse(self, error: WireError) -> None:
        self.refused += 1
        _log.warning("refused a message: %.300s", error)


class LatestSubscriber:
    """Receives only ever the newest message: for workers slower than the stream.

    A thread drains a :class:`Subscriber` into a one-slot mailbox, so nothing old is ever waiting.

    Parameters
    ----------
    endpoint, kinds, keys
        As for :class:`Subscriber`.

    Attributes
    ----------
    skipped
        Messages that a newer one replaced before they were received.
    """

    def __init__(
        self, endpoint: str, kinds: Sequence[str] = ("embedding",), *, keys: Path | None = None
    ) -> None:
        self.skipped = 0
        self._subscriber = Subscriber(endpoint, kinds, keys=keys)
        self._mailbox: Received | None = None
        self._filled = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._drain, name="latest", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Messages that never came, by the jumps in their sequence numbers."""
        return self._subscriber.lost

    @property
    def refused(self) -> int:
        """Messages that were malformed."""
        return self._subscriber.refused

    def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the subscription is in force; False if it is not within ``timeout_s``."""
        return self._subscriber.joined.wait(timeout_s)

    def receive(self, timeout_s: float) -> Received | None:
        """Return the newest message not yet received, or None if none comes within ``timeout_s``."""
        with self._filled:
            self._filled.wait_for(lambda: self._mailbox is not None, timeout_s)
            received, self._mailbox = self._mailbox, None
        return received

    def close(self) -> None:
        """Stop the thread and disconnect."""
        self._closing = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _drain(self) -> None:
        with self._subscriber as subscriber:
            while not self._closing:
                received = subscriber.receive(_WAKE_S)
                if received is None:
                    continue
                with self._filled:
                    self.skipped += self._mailbox is not None
                    self._mailbox = received
                    self._filled.notify()
