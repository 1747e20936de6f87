"""Each of the seven formats, replayed and read back by mne-lsl."""

from __future__ import annotations

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from mne._fiff.constants import FIFF

from replay.player import LslPlayer
from replay.recordings import read_recording

FORMATS = ["fif", "vhdr", "edf", "bdf", "set", "xdf", "csv"]


@pytest.mark.parametrize("ending", FORMATS)
def test_mne_lsl_reads_rate_names_units_samples_and_markers_back(
    ending: str, write: Any, indexed: Any
) -> None:
    assert "LSLAPICFG" in os.environ  # mne-lsl brings a liblsl of its own, which must see our session
    from mne_lsl.lsl import StreamInlet, resolve_streams
    from mne_lsl.stream import StreamLSL

    recording = read_recording(write(ending), units="uV" if ending == "csv" else None)
    source_id = f"test-{ending}-{uuid.uuid4()}"
    player = LslPlayer(recording, source_id=source_id)
    with ThreadPoolExecutor(1) as thread, ExitStack() as at_the_end:
        running = thread.submit(player.run)
        at_the_end.callback(player.stop)
        stream = StreamLSL(bufsize=4, source_id=source_id)
        stream.connect(acquisition_delay=0.02, processing_flags=None, timeout=20)
        at_the_end.callback(stream.disconnect)
        markers = StreamInlet(resolve_streams(timeout=20, source_id=player.marker_source_id)[0])
        at_the_end.callback(markers.close_stream)
        markers.open_stream(20)  # StreamLSL takes no streams of text

        assert stream.info["sfreq"] == indexed.rate_hz
        assert tuple(stream.ch_names) == recording.channel_names
        units = stream.get_channel_units()
        assert units[:3] == [(FIFF.FIFF_UNIT_V, FIFF.FIFF_UNITM_NONE)] * 3
        assert {int(multiplier) for _, multiplier in units} == {0}
        assert stream.get_channel_types()[:3] == [channel.type.value for channel in recording.channels[:3]]

        while stream.n_new_samples < recording.n_samples:
            assert not running.done(), "the player ended before all samples came"
            time.sleep(0.02)
        data, stamps = stream.get_data(winsize=recording.n_samples / indexed.rate_hz)
        np.testing.assert_array_equal(data.T, recording.read(0, recording.n_samples))
        labels, marker_stamps = markers.pull_chunk(timeout=5, max_samples=len(recording.markers))
        assert tuple(label for (label,) in labels) == recording.markers.label
        np.testing.assert_array_equal(marker_stamps, stamps[recording.markers.sample])
    running.result()
