"""Markers of every kind, in any order, over real LSL: each asks for the window of its own onset.

The first channel of the amplifier is the sample's number, so that a wrong window shows as a wrong integer.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pylsl
import pytest
from index_decoder import index_channels, index_manifest, write_index_decoder

from rtdecode.bus.subscriber import Subscriber
from rtdecode.bus.wire import floats
from rtdecode.config import ServeConfig
from rtdecode.contracts import EmbeddingMessage, Fate, MarkerMessage, VerdictMessage
from rtdecode.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE_HZ = 256.0
N_SAMPLES = 600
LAST = 20  # sample of the window, from the onset


class Lab:
    """An amplifier with a trigger channel, and marker outlets of any format, that send when told to."""

    def __init__(self) -> None:
        self.source_id = f"markers-{uuid.uuid4().hex}"
        # All of it is past before any is sent: samples that arrive before their time come from a wrong clock.
        self.start = pylsl.local_clock() - (N_SAMPLES + 1) / RATE_HZ
        info = pylsl.StreamInfo("amplifier", "EEG", 4, RATE_HZ, "float32", self.source_id)
        channels = info.desc().append_child("channels")
        for name, kind in [*((c.name, "EEG") for c in index_channels()), ("TRIG", "stim")]:
            node = channels.append_child("channel")
            for key, value in (("label", name), ("type", kind), ("unit", "V")):
                node.append_child_value(key, value)
        self.amplifier = pylsl.StreamOutlet(info)
        self.streams: list[dict[str, str]] = []
        self.triggers = np.zeros(N_SAMPLES, np.float32)
        self.n_sent = 0

    def outlet(self, value_format: str, names: tuple[str, ...] = ()) -> pylsl.StreamOutlet:
        """Markers of one format; with names they are one-hot annotations."""
        source_id = f"{self.source_id}-{len(self.streams)}"
        kind, n = ("annotations", len(names)) if names else ("Markers", 1)
        info = pylsl.StreamInfo(value_format, kind, n, 0.0, value_format, source_id)
        channels = info.desc().append_child("channels")
        for name in names:
            channels.append_child("channel").append_child_value("label", name)
        self.streams.append({"source_id": source_id})
        return pylsl.StreamOutlet(info)

    def at(self, sample: int) -> float:
        return self.start + sample / RATE_HZ

    def send(self, n: int) -> None:
        samples = np.zeros((n, 4), np.float32)
        samples[:, 0] = np.arange(self.n_sent, self.n_sent + n)
        samples[:, 3] = self.triggers[self.n_sent : self.n_sent + n]
        self.n_sent += n
        self.amplifier.push_chunk(samples, self.at(self.n_sent - 1))

    def decode(
        self, decoder: Path, n_markers: int, act: Callable[[Callable[[int], None]], None], **markers: object
    ) -> tuple[list[MarkerMessage], dict[tuple[str, str], list[tuple[int, int]]]]:
        """Run the service while ``act`` sends; it is handed a wait for so many markers.

        Returns the fates in order, and (onset sample, first number in the window) by source and label.
        """
        config: dict[str, Any] = {
            "streams": [{"id": "eeg", "lsl": {"source_id": self.source_id}}],
            "markers": {"streams": self.streams, **markers},
            "decoders": [{"path": decoder}],
            "bus": {"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        }
        fates: list[MarkerMessage] = []
        windows: dict[int, tuple[int, int]] = {}
        verdicts: list[VerdictMessage] = []
        with (
            Service(ServeConfig(**config)) as service,
            Subscriber(service.endpoints.publish, ("marker", "embedding", "verdict")) as subscriber,
        ):
            assert subscriber.wait_joined(10)

            def take() -> None:
                received = subscriber.receive(30)
                assert received is not None
                message = received.message
                if isinstance(message, MarkerMessage):
                    fates.append(message)
                elif isinstance(message, EmbeddingMessage):
                    first, last = floats(received.payload[0], 2).tolist()
                    assert last - first == LAST
                    windows[message.request.index] = (message.onset_sample, int(first))
                elif isinstance(message, VerdictMessage):
                    verdicts.append(message)

            def wait_for_markers(n: int) -> None:
                while len(fates) < n:
                    take()

            service.connect()
            act(wait_for_markers)
            wait_for_markers(n_markers)
            while len(verdicts) < sum(fate.index is not None for fate in fates):
                take()
            accounts = service.status().accounts
        assert sum(accounts.markers.values()) == n_markers
        assert accounts.n_open == 0
        found: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for fate in fates:
            if fate.index is not None:
                found.setdefault((fate.source, fate.label), []).append(windows[fate.index])
        return fates, found


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, LAST)))
    return tmp_path / "d.onnx"


@pytest.mark.parametrize(
    ("edge", "codes"), [("rising", {"5": 450}), ("change", {"5": 450, "6": 455}), ("falling", {"6": 460})]
)
def test_markers_of_every_format_ask_for_the_window_of_their_onset(
    lab: Lab, decoder: Path, edge: str, codes: dict[str, int]
) -> None:
    sent = [
        (lab.outlet("string"), ["face"], 30),
        (lab.outlet("int32"), [70000], 61),
        (lab.outlet("float32"), [2.5], 92),
        (lab.outlet("double64"), [7.0], 123),
        (lab.outlet("float32", ("left", "right")), [0.0, 1.0], 154),
    ]
    lab.triggers[450:455], lab.triggers[455:460] = 256 + 5, 256 + 6  # bit 8 is held high by the hardware
    lab.triggers[:450] = lab.triggers[460:] = 256

    def act(_: object) -> None:
        for outlet, values, sample in sent:
            outlet.push_sample(values, lab.at(sample))
        lab.send(N_SAMPLES)

    triggers = [{"stream": "eeg", "channel": "TRIG", "mask": 0xFF, "edge": edge}]
    _, found = lab.decode(decoder, len(sent) + len(codes), act, triggers=triggers)
    expected = {
        ("string", "face"): 30,
        ("int32", "70000"): 61,
        ("float32", "2.5"): 92,
        ("double64", "7"): 123,
        ("float32", "right"): 154,
        **{("eeg/TRIG", code): sample for code, sample in codes.items()},
    }
    assert found == {key: [(sample, sample)] for key, sample in expected.items()}


def test_json_markers_are_known_by_their_key_and_none_is_lost(lab: Lab, decoder: Path) -> None:
    outlet = lab.outlet("string")
    texts = ['{"trial": {"image": "cat.jpg"}, "n": 1}', '{"trial": {}}', "start", '{"trial": {"image": 7}}']

    def act(_: object) -> None:
        for index, text in enumerate(texts):
            outlet.push_sample([text], lab.at(30 * (index + 1)))
        lab.send(N_SAMPLES)

    lab.triggers[450] = 5
    triggers = [{"stream": "eeg", "channel": "TRIG"}]
    fates, found = lab.decode(decoder, 5, act, triggers=triggers, json_key="trial.image")
    assert found == {
        ("string", "cat.jpg"): [(30, 30)],
        ("string", "7"): [(120, 120)],
        ("eeg/TRIG", "5"): [(450, 450)],  # a code is no JSON
    }
    assert {(fate.label, fate.reason) for fate in fates if fate.fate is Fate.IGNORED} == {
        ('{"trial": {}}', "is no JSON object with the key 'trial.image'"),
        ("start", "is no JSON"),
    }


def test_early_late_repeated_and_disordered_markers_each_get_their_own_window(
    lab: Lab, decoder: Path
) -> None:
    outlet = lab.outlet("string")

    def act(wait_for_markers: Callable[[int], None]) -> None:
        outlet.push_sample(["early"], lab.at(200))  # long before its data
        wait_for_markers(1)
        lab.send(400)
        for label, sample in (("late", 50), ("first", 320), ("before it", 310), ("a", 330), ("b", 330)):
            outlet.push_sample([label], lab.at(sample))
        outlet.push_sample(["first"], lab.at(320))  # sent once more
        wait_for_markers(7)
        lab.send(100)

    fates, found = lab.decode(decoder, 7, act)
    onsets = {"early": 200, "late": 50, "first": 320, "before it": 310, "a": 330, "b": 330}
    assert found == {("string", label): [(sample, sample)] for label, sample in onsets.items()}
    assert [fate.fate for fate in fates] == [*[Fate.ACCEPTED] * 6, Fate.DUPLICATE]


def test_a_marker_of_a_megabyte_ends_nothing(lab: Lab, decoder: Path) -> None:
    outlet = lab.outlet("string")

    def act(_: object) -> None:
        outlet.push_sample([json.dumps({"image": "x" * 2_000_000})], lab.at(30))
        outlet.push_sample([json.dumps({"image": "cat"})], lab.at(60))
        lab.send(N_SAMPLES)

    fates, found = lab.decode(decoder, 2, act, json_key="image")
    assert [fate.fate for fate in fates] == [Fate.IGNORED, Fate.ACCEPTED]
    assert found == {("string", "cat"): [(60, 60)]}
