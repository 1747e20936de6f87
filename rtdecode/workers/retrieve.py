"""Answers each embedding on the bus with the gallery's best images."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtdecode.bus import ControlClient, NoAnswerError, Publisher, Subscriber
from rtdecode.bus.wire import floats
from rtdecode.contracts import EmbeddingMessage, EmbeddingSpace, HeadRole, RetrievalMessage
from rtdecode.errors import MismatchError, UserError
from rtdecode.gallery import Gallery, RepetitionMeans, Retriever
from rtdecode.workers.command import bus_options, run_until_signalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from rtdecode.bus import Endpoints, Received
    from rtdecode.contracts import DecoderManifest

_log = logging.getLogger(__name__)

_WAKE_S = 0.2
"""How often an idle worker looks whether it was told to stop; embeddings never wait for it."""

_RECONNECT_S = 1.0
"""How long an answer may wait for the way back to a service that was just restarted."""

_Targets = tuple[EmbeddingSpace, tuple[float, ...], tuple[float, ...]]
"""What a search index hangs on: space, mean and SD of a head's training targets."""


class RetrievalWorker:
    """Subscribes to embeddings and publishes a ranking of the gallery for each.

    It answers the heads with the role ``retrieval`` that live in the gallery's space; manifests are asked of
    the service, again whenever an embedding comes from a decoder it does not know. It outlives the service.

    Parameters
    ----------
    gallery
        Where to search.
    endpoints
        Where the service is, or will be.
    top
        How many images to name.
    keys
        This worker's file of ``rtdecode keys``, where the service demands keys.
    clock
        Gives ``received_at`` and ``sent_at``, seconds; None is LSL's clock.
    say
        Called with each line that a person should see.

    Attributes
    ----------
    ready
        Set once embeddings arrive and answers get through.
    answered
        Rankings published.
    """

    def __init__(
        self,
        gallery: Gallery,
        endpoints: Endpoints,
        *,
        top: int = 5,
        keys: Path | None = None,
        clock: Callable[[], float] | None = None,
        say: Callable[[str], None] = _log.info,
    ) -> None:
        self.ready = threading.Event()
        self.answered = 0
        self._gallery = gallery
        self._endpoints = endpoints
        self._top = top
        self._keys = keys
        self._clock = _lsl_clock() if clock is None else clock
        self._say = say
        self._stopping = False
        self._means = RepetitionMeans()
        self._retrievers: dict[str, dict[str, Retriever]] = {}
        self._built: dict[_Targets, Retriever] = {}

    def run(self) -> None:
        """Answer until :meth:`stop`, waiting for the service where it is not there.

        Raises
        ------
        MismatchError
            If no decoder of the service fits the gallery when they first meet.
        """
        with (
            Subscriber(
                self._endpoints.publish, control=self._endpoints.control, keys=self._keys
            ) as subscriber,
            Publisher(self._endpoints.subscribe, "retrieve", clock=self._clock, keys=self._keys) as publisher,
            ControlClient(self._endpoints.control, keys=self._keys) as control,
        ):
            if not self._meet(subscriber, publisher, control):
                return
            name = self._gallery.description.name
            self._say(f"ready: gallery {name!r} with {len(self._gallery)} images answers {self._heads()}")
            self.ready.set()
            while not self._stopping:
                received = subscriber.receive(_WAKE_S)
                if received is not None:
                    self._answer(received, self._clock(), publisher, control)
            self._say(
                f"stopped: {self.answered} answers, {subscriber.lost} embeddings lost, "
                f"{subscriber.repaired} fetched again, {subscriber.refused} malformed"
            )

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread or a signal handler."""
        self._stopping = True

    def _meet(self, subscriber: Subscriber, publisher: Publisher, control: ControlClient) -> bool:
        """Wait for the service and learn its decoders; False if told to stop meanwhile."""
        patient = False
        while not self._stopping:
            if subscriber.wait_joined(_WAKE_S) and publisher.connected(_WAKE_S):
                try:
                    decoders = control.decoders()
                except NoAnswerError:
                    continue  # it went away again
                faults = self._learn(decoders)
                if not any(self._retrievers.values()):
                    raise MismatchError("; ".join(faults) or "the service runs no decoder")
                for fault in faults:
                    _log.warning("not answered: %s", fault)
                return True
            if not patient:
                self._say(f"waiting for a service at {self._endpoints.publish}")
                patient = True
        return False

    def _learn(self, decoders: Mapping[str, DecoderManifest]) -> list[str]:
        """Make ready for these decoders; return what does not fit."""
        faults = []
        retrievers: dict[str, dict[str, Retriever]] = {}
        # Decoders that grew from the same training targets (windows of different length) share one index.
        built: dict[_Targets, Retriever] = {}
        for sha256, manifest in decoders.items():
            retrievers[sha256] = {}
            heads = [head for head in manifest.heads if head.role == HeadRole.RETRIEVAL]
            if not heads:
                faults.append(f"decoder {manifest.name!r} has no head for retrieval")
            for head in heads:
                targets = (head.space, head.target_mean, head.target_sd)
                try:
                    if targets not in built:
                        built[targets] = self._built.get(targets) or Retriever(self._gallery, head)
                    retrievers[sha256][head.name] = built[targets]
                except MismatchError as error:
                    faults.append(f"decoder {manifest.name!r}: {error}")
        self._retrievers, self._built = retrievers, built
        return faults

    def _heads(self) -> str:
        """Name the heads it answers, for people."""
        names = sorted({head for heads in self._retrievers.values() for head in heads})
        return f"head{'s' * (len(names) > 1)} {', '.join(names)}"

    def _answer(
        self, received: Received, received_at: float, publisher: Publisher, control: ControlClient
    ) -> None:
        message = received.message
        if not isinstance(message, EmbeddingMessage):
            return
        if message.decoder_sha256 not in self._retrievers:
            try:
                for fault in self._learn(control.decoders()):
                    _log.warning("not answered: %s", fault)
            except UserError as error:
                _log.warning("an embedding of an unknown decoder goes unanswered: %s", error)
                return
        retrievers = self._retrievers.get(message.decoder_sha256, {})
        dim = self._gallery.description.space.dim
        for head, frame in zip(message.heads, received.payload, strict=True):
            retriever = retrievers.get(head.name)
            if retriever is None or head.dim != dim:
                continue
            answer = self._rank(message, head.name, retriever, floats(frame, dim), received_at)
            if not publisher.connected(_RECONNECT_S):
                _log.warning("an answer is dropped: the service does not take it")
                return
            publisher.send(answer)
            self.answered += 1

    def _rank(
        self,
        message: EmbeddingMessage,
        head: str,
        retriever: Retriever,
        embedding: np.ndarray,
        received_at: float,
    ) -> RetrievalMessage:
        truth = message.stimulus_id
        single = retriever.rank(embedding, self._top, truth)
        running = None
        if truth is not None:
            # A service that starts anew starts its means anew.
            key = (message.boot_id, message.request.stream, message.decoder_sha256, head, truth)
            mean, n = self._means.add(key, embedding)
            running = single if n == 1 else retriever.rank(mean, self._top, truth, averaged=n)
        return RetrievalMessage(
            simulated=message.simulated or self._gallery.description.simulated,
            request=message.request,
            label=message.label,
            stimulus_id=truth,
            head=head,
            gallery=self._gallery.description.name,
            n_gallery=len(self._gallery),
            single=single,
            running=running,
            received_at=received_at,
        )


def _lsl_clock() -> Callable[[], float]:
    from pylsl import local_clock  # loads liblsl, which a worker with another clock does without

    clock: Callable[[], float] = local_clock
    return clock


@click.command()
@click.option(
    "--gallery",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with gallery.json, embeddings.npy, index.parquet and thumbnails.",
)
@bus_options
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(min=1), help="How many images to name."
)
def retrieve(folder: Path, endpoints: Endpoints, keys: Path | None, top: int) -> None:
    """Answer each decoded embedding with the most similar images of a gallery.

    Waits for the service where it does not run yet; ends with Ctrl-C.
    """
    run_until_signalled(RetrievalWorker(Gallery.open(folder), endpoints, top=top, keys=keys, say=click.echo))
