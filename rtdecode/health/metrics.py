"""The service's state in the families of Prometheus."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from rtdecode.contracts import AlarmCode, ServiceState, StreamState
from rtdecode.health.stages import BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from rtdecode.contracts import DecoderManifest, StatusMessage
    from rtdecode.health.stages import StageTimes


class ServiceMetrics(Collector):
    """Reads a service's status, alarms and stage times at each scrape.

    Parameters
    ----------
    status, alarms
        What to read: the status, and how many alarms of each code are active.
    stages
        How long things took.
    decoders
        Manifests by the hash of their files.
    """

    def __init__(
        self,
        status: Callable[[], StatusMessage],
        alarms: Callable[[], Mapping[AlarmCode, int]],
        stages: StageTimes,
        decoders: Mapping[str, DecoderManifest],
    ) -> None:
        self._status = status
        self._alarms = alarms
        self._stages = stages
        self._decoders = dict(decoders)

    def collect(self) -> Iterator[Metric]:
        """Every family, as it stands now."""
        status = self._status()
        yield self._stage_times()
        states = {state.value: float(state is status.state) for state in ServiceState}
        yield _by_name("rtdecode_service_state", "1 for the state of the service.", "state", states)
        yield from _accounts(status)
        yield from _streams(status)
        yield _by_name("rtdecode_queue_length", "Entries that wait in a queue.", "queue", status.queues)
        yield _counter("rtdecode_dropped", "What was thrown away, by what it was.", "what", status.dropped)
        active = self._alarms()
        codes = {code.value: active.get(code, 0) for code in AlarmCode}
        yield _by_name("rtdecode_alarms_active", "Alarms that are active.", "code", codes)
        yield self._decoder_info(status)

    def _stage_times(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(
            "rtdecode_stage_seconds",
            "How long the stages of an embedding took: data (marker to the window's last sample), queue, "
            "decode, publish; compute is the sum of the last three.",
            labels=["stage", "decoder"],
        )
        names = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
        for key, durations in sorted(self._stages.so_far().items()):
            buckets = list(zip(names, map(float, accumulate(durations.counts)), strict=True))
            family.add_metric(key, buckets, durations.sum_s)
        return family

    def _decoder_info(self, status: StatusMessage) -> InfoMetricFamily:
        family = InfoMetricFamily("rtdecode_decoder", "The decoders.", labels=["decoder"])
        for sha256, manifest in self._decoders.items():
            info = {
                "provider": status.providers.get(manifest.name, ""),
                "sha256": sha256,
                "simulated": str(manifest.simulated).lower(),
            }
            family.add_metric([manifest.name], info)
        return family


def _accounts(status: StatusMessage) -> Iterator[Metric]:
    accounts = status.accounts
    yield _counter("rtdecode_markers", "Markers, by what became of them.", "fate", accounts.markers)
    yield _counter("rtdecode_requests", "Requests that ended, by how.", "verdict", accounts.requests)
    yield GaugeMetricFamily("rtdecode_requests_open", "Requests without a verdict.", value=accounts.n_open)


def _streams(status: StatusMessage) -> Iterator[Metric]:
    streams = status.streams
    states = GaugeMetricFamily("rtdecode_stream_state", "1 for a source's state.", labels=["stream", "state"])
    for name, stream in streams.items():
        for state in StreamState:
            states.add_metric([name, state.value], float(state is stream.state))
    yield states
    for field, name, text in (
        ("age_s", "age_seconds", "Age of a source's newest sample."),
        ("clock_offset_s", "clock_offset_seconds", "From the clock of a source's sender to ours."),
        ("clock_uncertainty_s", "clock_uncertainty_seconds", "How far that may be off."),
    ):
        values = {source: getattr(stream, field) for source, stream in streams.items()}
        yield _by_name(f"rtdecode_stream_{name}", text, "stream", values)
    for field, text in (
        ("reconnects", "How often a source came back."),
        ("flushed_samples", "Samples thrown away to catch up."),
        ("bridged_samples", "Samples put in for lost ones."),
    ):
        counts = {source: getattr(stream, field) for source, stream in streams.items()}
        yield _counter(f"rtdecode_stream_{field}", text, "stream", counts)


def _by_name(name: str, text: str, label: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
    """A gauge for each name whose value is known."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([str(key)], value)
    return family


def _counter(name: str, text: str, label: str, counts: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, count in counts.items():
        family.add_metric([str(key)], count)
    return family
