"""``/livez``, ``/readyz`` and ``/metrics`` of a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from rtdecode.contracts import StreamState
from rtdecode.health.metrics import ServiceMetrics
from rtdecode.health.server import Page, PageServer
from rtdecode.health.stages import StageTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rtdecode.config import HealthSettings
    from rtdecode.contracts import AlarmCode, DecoderManifest, EmbeddingMessage, StatusMessage


class Health:
    """Answers monitors while it is entered.

    - ``/livez``: 200 while every thread runs and the heart beats; else 503: start the service anew.
    - ``/readyz``: 200 while a marker would be answered: all sources are there, fit their decoders, are fresh,
      and the filters are warm; else 503 with a line that says what is missing.
    - ``/metrics``: for Prometheus.

    Parameters
    ----------
    settings
        Where to listen.
    status, ailments, alarms
        Asked at each request: the service's status, what in it has died, and the number of active alarms.
    decoders
        Manifests by the hash of their files.

    Raises
    ------
    UserError
        On entry, if it cannot listen there.
    """

    def __init__(
        self,
        settings: HealthSettings,
        *,
        status: Callable[[], StatusMessage],
        ailments: Callable[[], Sequence[str]],
        alarms: Callable[[], Mapping[AlarmCode, int]],
        decoders: Mapping[str, DecoderManifest],
    ) -> None:
        self._stages = StageTimes()
        registry = CollectorRegistry()  # of its own: two services in one process do not meet
        registry.register(ServiceMetrics(status, alarms, self._stages, decoders))
        ProcessCollector(registry=registry)

        def livez(_: str) -> Page:
            return _verdict("; ".join(ailments()), "alive")

        def readyz(_: str) -> Page:
            return _verdict(unready(status()), "ready")

        def metrics(accept: str) -> Page:
            encode, content_type = choose_encoder(accept)
            return Page(200, encode(registry), content_type)

        pages = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}
        self._server = PageServer(settings.host, settings.port or 0, pages, on_idle=self._stages.count)

    @property
    def url(self) -> str:
        """Where it listens, once entered."""
        return self._server.url

    def note(self, message: EmbeddingMessage, published_at: float) -> None:
        """Take an embedding that was handed to the bus at ``published_at``; quick, from any thread."""
        self._stages.note(message, published_at)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(*exc_info)


def unready(status: StatusMessage) -> str:
    """Why a marker would find no answer now, in one line; empty if it would."""
    if status.state != "live":
        return f"the service is {status.state}"
    return "; ".join(
        f"{name} is {stream.state.value}{stream.reason and f': {stream.reason}'}"
        for name, stream in status.streams.items()
        if stream.state is not StreamState.LIVE
    )


def _verdict(fault: str, well: str) -> Page:
    if fault:
        return Page(503, f"not {well}: {' '.join(fault.split())}\n".encode())
    return Page(200, f"{well}\n".encode())
