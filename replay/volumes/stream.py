"""Volumes of a folder as an LSL stream, one sample each."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import numpy as np
import pylsl

from replay.description import live_info
from replay.volumes.folder import Folder
from replay.volumes.runs import Runs
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.recordings.nifti import Mask
    from replay.volumes.folder import Arrival

POLL_S = 0.05
_SAME_REPETITION = 1e-3


class VolumeStream:
    """Watches a folder, and sends each volume that appears in it.

    Parameters
    ----------
    folder
        Where a scanner writes volumes, into it or into folders in it.
    mask
        Its voxels are the channels.
    name
        Name of the stream.
    source_id
        By default made from the name.
    repetition_s
        Time from one volume to the next. The stream appears at once where it is stated; None: with the first
        volume, which tells it.
    delay_s
        Time from the beginning of a volume's acquisition to the arrival of its file; by default the
        repetition time, which is the shortest there can be.
    tell
        Takes a line on what people should know.
    poll_s
        How often the folder is looked into; less often where that takes long.

    Raises
    ------
    UserError
        If a time makes no sense.
    """

    def __init__(
        self,
        folder: Path,
        mask: Mask,
        *,
        tell: Callable[[str], None],
        name: str = "volumes",
        source_id: str | None = None,
        repetition_s: float | None = None,
        delay_s: float | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        if repetition_s is not None and not 0 < repetition_s < math.inf:
            raise UserError(f"repetition time {repetition_s} s: must be greater than 0 (--tr)")
        if delay_s is not None and not 0 <= delay_s < math.inf:
            raise UserError(f"delay {delay_s} s: a file cannot come before its volume was begun (--delay)")
        self.name = name
        self.source_id = source_id or f"rtdecode-volumes-{name}"
        self.n_sent = 0
        self._mask = mask
        self._tell = tell
        self._poll_s = poll_s
        self._delay_s = delay_s
        self._repetition_s = math.nan
        self._outlet: pylsl.StreamOutlet | None = None
        self._runs: Runs | None = None
        self._is_heard = True
        self._stopped = threading.Event()
        self._folder = Folder(folder, tell)
        if repetition_s is not None:
            self._announce(repetition_s)

    def run(self) -> None:
        """Watch and send until :meth:`stop`."""
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            began = pylsl.local_clock()
            for arrival in self._folder.look(began):
                self._take(arrival)
            self._send(pylsl.local_clock())
            pause_s = max(self._poll_s, pylsl.local_clock() - began)  # half of the time at the most
        self._outlet = None

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread."""
        self._stopped.set()

    def _announce(self, repetition_s: float) -> Runs:
        self._repetition_s = repetition_s
        delay_s = repetition_s if self._delay_s is None else self._delay_s
        self._runs = Runs(repetition_s, delay_s, self._tell)
        info = live_info(self._mask.channels, 1.0 / repetition_s, name=self.name, source_id=self.source_id)
        self._outlet = pylsl.StreamOutlet(info)
        n_voxels = len(self._mask.channels)
        self._tell(f"stream {self.name!r}: {n_voxels} voxels, a volume each {repetition_s:g} s")
        return self._runs

    def _take(self, arrival: Arrival) -> None:
        volume = arrival.volume
        try:
            values = volume.inside(self._mask)
            runs = self._runs or self._announce(self._told_repetition(volume.name, volume.repetition_s))
        except UserError as error:
            self._folder.tell_once(str(error))
            return
        if abs(volume.repetition_s - self._repetition_s) > _SAME_REPETITION * self._repetition_s:
            self._folder.tell_once(
                f"{volume.name}: left out, its repetition time is {volume.repetition_s:g} s and the stream's "
                f"{self._repetition_s:g} s; to stream it, begin again with another --tr"
            )
            return
        runs.take(volume.run, volume.name, volume.number, values, arrival.seen)

    def _told_repetition(self, name: str, repetition_s: float) -> float:
        if not repetition_s > 0:
            raise UserError(f"{name}: left out, its header tells no repetition time; state it (--tr)")
        return repetition_s

    def _send(self, now: float) -> None:
        if self._runs is None or self._outlet is None:
            return
        samples = self._runs.ready(now)
        if not samples:
            return
        is_heard = self._outlet.have_consumers()
        if self._is_heard and not is_heard:
            self._tell(f"nobody listens to stream {self.name!r}: what is sent now is lost")
        self._is_heard = is_heard
        self._outlet.push_chunk(
            np.array([sample.values for sample in samples]), [sample.stamp for sample in samples]
        )
        self.n_sent += len(samples)
