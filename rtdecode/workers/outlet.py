"""Puts what was decoded back into LSL, for recorders, experiments and displays that do not know the bus."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pylsl

from rtdecode.bus import ControlClient, Subscriber
from rtdecode.bus.wire import floats
from rtdecode.contracts import EmbeddingMessage, RetrievalMessage, StatusMessage, VerdictMessage
from rtdecode.errors import UserError
from rtdecode.workers.command import bus_options, run_until_signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rtdecode.bus import Endpoints, Received
    from rtdecode.contracts import DecoderManifest, Head, Message, Request, Stamps

_log = logging.getLogger(__name__)

EMBEDDING_TYPE = "Embedding"
ANSWER_TYPE = "Answers"
"""Not ``Markers``: a service that takes its markers by type must not take them for those."""

_KINDS = ("embedding", "verdict", "retrieval", "status")
_WAKE_S = 0.2
"""How often an idle worker looks whether it was told to stop; messages never wait for it."""

_REMEMBERED = 1024
"""Emitted requests for which rankings may still come."""

_LINGER_S = 0.5

_BUFFERED = 10
"""Hundreds of samples that wait for a consumer that does not fetch them; then the oldest go."""


class _HeadKey(NamedTuple):
    """Which results an LSL stream of embeddings carries, and what it says of them."""

    stream: str
    sha256: str
    head: str
    simulated: bool


class ResultStreams:
    """LSL streams of one service's results.

    - For each head of each decoder of each signal stream one stream of type ``Embedding``, irregular,
      float32, a channel a dimension, in the raw units of the head's space; each sample is stamped with the
      onset it belongs to.
    - One stream of text of type ``Answers``; a sample is a JSON object with ``kind``, ``stream``,
      ``decoder``, ``index``, ``label``, ``stimulus_id``, ``verdict``, ``onset_stamp``, ``latency_ms`` and
      ``simulated``. Of kind ``verdict`` there is one a request, with its ``reason``; of kind ``retrieval``
      one a ranking, with ``head``, ``gallery``, ``hits`` (best first) and ``truth_rank``. It is stamped with
      the onset; where there was no window, with the moment of the verdict, and ``onset_stamp`` is null.

    The onset is the marker's time, corrected for the configured delays, in this machine's LSL clock; in
    continuous mode it is the time of the window's last sample. ``latency_ms`` counts from the arrival of that
    sample until the answer is sent; it is null where time was compressed.

    Parameters
    ----------
    source_id
        Begins the ``source_id`` of every stream: the names of signal stream, decoder and head, or
        ``answers``, follow.
    """

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._heads: dict[_HeadKey, pylsl.StreamOutlet] = {}
        self._answers: dict[bool, pylsl.StreamOutlet] = {}
        self._onsets: OrderedDict[Request, EmbeddingMessage] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Names of the streams there are."""
        outlets = [*self._heads.values(), *self._answers.values()]
        return [outlet.get_info().name() for outlet in outlets]

    def offer(
        self,
        decoders: Mapping[str, DecoderManifest],
        by_stream: Mapping[str, Sequence[str]],
        *,
        simulated: bool,
    ) -> None:
        """Have streams for just these decoders; those that were there before stay as they are.

        Parameters
        ----------
        decoders
            Manifests by the hash of their files.
        by_stream
            Names of the decoders of each signal stream.
        simulated
            Whether what they decode is.
        """
        self._onsets.clear()
        heads = {}
        for stream, names in by_stream.items():
            for sha256, manifest in decoders.items():
                for head in manifest.heads if manifest.name in names else ():
                    key = _HeadKey(stream, sha256, head.name, simulated or manifest.simulated)
                    heads[key] = self._heads.get(key) or self._embedding_outlet(key, manifest.name, head)
        answers = simulated or any(manifest.simulated for manifest in decoders.values())
        self._heads = heads
        self._answers = {answers: self._answers.get(answers) or self._answer_outlet(simulated=answers)}

    def linger(self) -> None:
        """Leave consumers a moment to fetch what was sent last: LSL drops it when an outlet goes."""
        if any(outlet.have_consumers() for outlet in (*self._heads.values(), *self._answers.values())):
            time.sleep(_LINGER_S)

    def push_embedding(self, message: EmbeddingMessage, payload: tuple[bytes, ...]) -> None:
        """Send each head's embedding."""
        self._onsets[message.request] = message
        if len(self._onsets) > _REMEMBERED:
            self._onsets.popitem(last=False)
        frames = {head.name: (head.dim, frame) for head, frame in zip(message.heads, payload, strict=True)}
        for key, outlet in self._heads.items():
            if (key.stream, key.sha256) == (message.request.stream, message.decoder_sha256):
                dim, frame = frames.get(key.head, (0, b""))
                if dim == outlet.channel_count:
                    outlet.push_sample(floats(frame, dim).tolist(), _onset(message.stamps))

    def push_verdict(self, message: VerdictMessage) -> None:
        """Send how a request ended."""
        emitted = self._onsets.get(message.request)
        said = {"verdict": message.verdict.value, "reason": message.reason}
        self._push_answer("verdict", message, emitted, said, otherwise=message.sent_at)

    def push_retrieval(self, message: RetrievalMessage) -> None:
        """Send the best images for a request; nothing if the request is not known any more."""
        emitted = self._onsets.get(message.request)
        if emitted is None:
            _log.warning("a ranking for a request that is not known is passed over: %s", message.request)
            return
        said = {
            "verdict": "emitted",
            "head": message.head,
            "gallery": message.gallery,
            "hits": [hit.model_dump() for hit in message.single.hits],
            "truth_rank": message.single.truth_rank,
        }
        self._push_answer("retrieval", message, emitted, said, otherwise=message.sent_at)

    def _push_answer(
        self,
        kind: str,
        message: VerdictMessage | RetrievalMessage,
        emitted: EmbeddingMessage | None,
        said: dict[str, Any],
        *,
        otherwise: float,
    ) -> None:
        onset = latency_ms = None
        if emitted is not None:
            onset = _onset(emitted.stamps)
            if emitted.latency_comparable:
                latency_ms = 1e3 * (pylsl.local_clock() - emitted.stamps.data_arrival)
        answer = {
            "kind": kind,
            "stream": message.request.stream,
            "decoder": message.request.decoder,
            "index": message.request.index,
            "label": message.label,
            "stimulus_id": message.stimulus_id,
            "onset_stamp": onset,
            "latency_ms": latency_ms,
            "simulated": message.simulated,
            **said,
        }
        for outlet in self._answers.values():
            outlet.push_sample([json.dumps(answer, ensure_ascii=False)], onset or otherwise)

    def _embedding_outlet(self, key: _HeadKey, decoder: str, head: Head) -> pylsl.StreamOutlet:
        name = f"{key.stream}-{decoder}-{head.name}"
        info = pylsl.StreamInfo(
            name,
            EMBEDDING_TYPE,
            head.space.dim,
            pylsl.IRREGULAR_RATE,
            "float32",
            f"{self._source_id}-{name}",
        )
        channels = info.desc().append_child("channels")
        for dimension in range(head.space.dim):
            channel = channels.append_child("channel")
            channel.append_child_value("label", f"dim-{dimension}")
            channel.append_child_value("type", "embedding")
        ours = info.desc().append_child("rtdecode")
        about = {
            "stream": key.stream,
            "decoder": decoder,
            "decoder_sha256": key.sha256,
            "head": head.name,
            "role": head.role.value,
            "simulated": str(key.simulated).lower(),
        }
        for what, value in about.items():
            ours.append_child_value(what, value)
        space = ours.append_child("space")
        for what, value in head.space.model_dump(mode="json").items():
            space.append_child_value(what, str(value))
        return pylsl.StreamOutlet(info, max_buffered=_BUFFERED)

    def _answer_outlet(self, *, simulated: bool) -> pylsl.StreamOutlet:
        info = pylsl.StreamInfo(
            "rtdecode-answers", ANSWER_TYPE, 1, pylsl.IRREGULAR_RATE, "string", f"{self._source_id}-answers"
        )
        ours = info.desc().append_child("rtdecode")
        ours.append_child_value("simulated", str(simulated).lower())
        return pylsl.StreamOutlet(info, max_buffered=_BUFFERED)


def _onset(stamps: Stamps) -> float:
    return stamps.data_corrected if stamps.marker_corrected is None else stamps.marker_corrected


class OutletWorker:
    """Subscribes to a service's results and sends them as :class:`ResultStreams`; it outlives the service.

    The streams appear when the service is live, and stay while it is restarted with the same decoders.

    Parameters
    ----------
    endpoints
        Where the service is, or will be: on this machine, since stamps are in its LSL clock.
    source_id
        Begins the ``source_id`` of every stream.
    keys
        This worker's file of ``rtdecode keys``, where the service demands keys.
    say
        Called with each line that a person should see.

    Attributes
    ----------
    ready
        Set once there are streams.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        source_id: str = "rtdecode",
        keys: Path | None = None,
        say: Callable[[str], None] = _log.info,
    ) -> None:
        self.ready = threading.Event()
        self._endpoints = endpoints
        self._keys = keys
        self._streams = ResultStreams(source_id)
        self._say = say
        self._stopping = False
        self._boot_id = ""
        self._simulated = False

    def run(self) -> None:
        """Send until :meth:`stop`, waiting for the service where it is not there.

        Raises
        ------
        UserError
            If the service runs on another machine.
        """
        with (
            Subscriber(
                self._endpoints.publish, _KINDS, control=self._endpoints.control, keys=self._keys
            ) as subscriber,
            ControlClient(self._endpoints.control, keys=self._keys) as control,
        ):
            self._say(f"waiting for a live service at {self._endpoints.publish}")
            while not self._stopping:
                received = subscriber.receive(_WAKE_S)
                if received is not None:
                    self._take(received, control)
            self._streams.linger()
            self._say(f"stopped: {subscriber.lost} messages lost, {subscriber.refused} malformed")

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread or a signal handler."""
        self._stopping = True

    def _take(self, received: Received, control: ControlClient) -> None:
        message = received.message
        if message.publisher == "service" and not self._knows(message, control):
            return
        match message:
            case EmbeddingMessage():
                self._streams.push_embedding(message, received.payload)
            case VerdictMessage():
                self._streams.push_verdict(message)
            case RetrievalMessage():
                self._streams.push_retrieval(message)

    def _knows(self, message: Message, control: ControlClient) -> bool:
        """Whether there are streams for a message's service; makes them where it is a new one."""
        if message.boot_id == self._boot_id and (self._simulated or not message.simulated):
            return True
        if isinstance(message, StatusMessage) and message.state != "live":
            return False  # what will be connected, and whether it is simulated, is not yet known
        if message.host != socket.gethostname():
            raise UserError(
                f"the service runs on {message.host} and its stamps are in that machine's LSL clock: run "
                "`rtdecode outlet` there; LSL carries the streams to this one"
            )
        try:
            decoders, status = control.decoders(), control.status()
        except UserError as error:
            _log.warning("a service's results are not sent on: %s", error)
            return False
        self._boot_id, self._simulated = message.boot_id, status.simulated
        self._streams.offer(decoders, status.decoders, simulated=status.simulated)
        self._say(f"ready: LSL streams {', '.join(self._streams.names)}")
        self.ready.set()
        return True


@click.command()
@bus_options
@click.option(
    "--source-id", default="rtdecode", show_default=True, help="Begins the source id of every stream."
)
def outlet(endpoints: Endpoints, keys: Path | None, source_id: str) -> None:
    """Send embeddings and answers as LSL streams, stamped with the onset that they belong to.

    Waits for the service where it does not run yet; ends with Ctrl-C.
    """
    run_until_signalled(OutletWorker(endpoints, source_id=source_id, keys=keys, say=click.echo))
