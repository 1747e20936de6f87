"""Counts the windows that are wrong where single samples are lost and stamps scatter.

``python tests/benchmarks/lost_samples.py`` streams synthetic time through the engine's own track,
spoiled by the faults of the replay: the one channel is the number of the sample, so that a window with a
sample missing, and one that lies beside its marker, show. ``--fault`` measures another mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from replay.batches import Batch
from replay.faults import burst_size, parse_fault
from replay.faults.fault import Draws
from rtdecode.contracts import Channel, ChannelType, Resampling, SignalContract, Unit, Verdict, Window
from rtdecode.signal.markers import Marker
from rtdecode.signal.track import Chunk, Cut, Track

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE_HZ = 256.0
CHUNK = 12
MARKERS_PER_S = 10
WINDOW = Window(first_sample=-10, last_sample=40)
MIXTURES = [
    ("drop:share=0.0005", "bursts:n=12,scatter_ms=1"),
    ("drop:share=0.0005", "bursts:n=12,scatter_ms=3"),
    ("drop:share=0.0005", "bursts:n=12,scatter_ms=5"),
    ("drop:share=0.002", "bursts:n=12,scatter_ms=3"),
    ("drop:share=0.002", "jitter:sd_ms=0.2"),
    ("drop:share=0.002", "jitter:sd_ms=0.5"),
    ("drop:share=0.002", "jitter:sd_ms=2"),
    ("drop:share=0.002", "jitter:sd_ms=4"),
    ("drop:share=0.01", "jitter:sd_ms=0.2"),
    ("drop:share=0.01", "jitter:sd_ms=2"),
    ("bursts:n=12,scatter_ms=3",),
    ("bursts:n=12,scatter_ms=5",),
    ("jitter:sd_ms=2",),
]


@dataclass
class Counts:
    """How many windows were asked for and cut, lack a sample, and lie off by more than a sample somewhere."""

    asked: int = 0
    emitted: int = 0
    torn: int = 0
    off: int = 0

    def add(self, window: np.ndarray, true_sample: int) -> None:
        """Count a window, by the numbers of its samples."""
        off = window - true_sample - np.arange(WINDOW.first_sample, WINDOW.last_sample + 1)
        self.emitted += 1
        self.torn += bool((np.diff(window) != 1).any())
        self.off += bool(np.max(np.abs(off)) > 1)


def count(faults: Sequence[str], seeds: Sequence[int], seconds: float = 20.0) -> Counts:
    """Stream so many seconds for each seed, with markers anywhere, and count."""
    counts = Counts()
    for seed in seeds:
        _stream(faults, seed, round(seconds * RATE_HZ), counts)
    return counts


def _stream(faults: Sequence[str], seed: int, n: int, counts: Counts) -> None:
    parsed = [parse_fault(fault) for fault in faults]
    numbers = np.arange(n)
    times = numbers / RATE_HZ
    chunks = numbers // (burst_size(parsed) or CHUNK)
    batch = Batch(0, 0, n, numbers, chunks, times, times.copy(), times.copy())
    for place, fault in enumerate(parsed):
        batch = fault.samples(batch, Draws(seed, place))
    signal = SignalContract(
        channels=(Channel(name="n", type=ChannelType.MISC, unit=Unit.NONE),),
        rate_hz=RATE_HZ,
        front_end=(),
        window=WINDOW,
        resampling=Resampling(rate_hz=RATE_HZ, n_times=10),
    )
    track = Track("eeg", signal, {"d": WINDOW})
    rng = np.random.default_rng(seed)
    n_markers = round(n / RATE_HZ * MARKERS_PER_S)
    onsets = np.sort(rng.choice(n - 200, n_markers, replace=False))
    marked = (onsets + rng.uniform(-0.45, 0.45, n_markers)) / RATE_HZ
    n_marked = 0
    for chunk in np.split(np.arange(len(batch.sample)), np.flatnonzero(np.diff(batch.chunk)) + 1):
        stamps = batch.stamp[chunk]
        track.feed(Chunk(batch.sample[chunk, None].astype(np.float64), stamps, stamps, 0.0))
        while n_marked < n_markers and onsets[n_marked] <= batch.sample[chunk[-1]]:
            time = float(marked[n_marked])
            track.mark(Marker("m", "", stamp=time, time=time, arrival=time), n_marked)
            n_marked += 1
        for answer in track.take(-math.inf):
            if isinstance(answer, Cut):
                counts.add(answer.window[:, 0].astype(int), int(onsets[answer.request.index]))
    track.close(Verdict.SHUTDOWN, "the end")
    counts.asked += n_markers


@click.command()
@click.option("--seeds", default=100, show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--fault", "faults", multiple=True, help="As for replay; several make one mixture.")
def main(seeds: int, seconds: float, faults: tuple[str, ...]) -> None:
    """Count for each mixture of faults, and print a table."""
    click.echo(f"{'asked':>7} {'emitted':>8} {'torn':>6} {'off':>6}")
    for mixture in [faults] if faults else MIXTURES:
        found = count(mixture, range(seeds), seconds)
        click.echo(f"{found.asked:7} {found.emitted:8} {found.torn:6} {found.off:6}  {' '.join(mixture)}")


if __name__ == "__main__":
    main()
