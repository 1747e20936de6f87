"""The example that shows images: its markers say what was shown, in order, with the stamp of the flip."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from index_decoder import index_channels, index_manifest, write_index_decoder

from replay.player import LslPlayer
from replay.recordings import Markers, Recording, array_reader
from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import ServeConfig
from rtdecode.contracts import Verdict
from rtdecode.service import Service
from rtdecode.sources.lsl import LslClock, MarkerInlet, StreamQuery, resolve

EXAMPLE = Path(__file__).parents[2] / "examples" / "psychopy"
SCRIPT = EXAMPLE / "show_images.py"
IMAGES = ("cats/1.png", "cats/2.jpg", "dog.PNG")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in (*IMAGES, "cats/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("show_images", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_window_the_markers_come_as_planned_and_as_noted(images: Path, tmp_path: Path) -> None:
    source_id, log = f"test-{uuid.uuid4().hex}", tmp_path / "shown.csv"
    arguments = [
        "--without-window",
        "--on",
        "0.03",
        "--off",
        "0.02",
        "--jitter",
        "0.02",
        "--repetitions",
        "4",
    ]
    arguments += ["--seed", "1", "--source-id", source_id, "--log", str(log)]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(images), *arguments], stdout=subprocess.PIPE, text=True
    )
    info = resolve(StreamQuery(source_id=source_id), 60)
    assert info is not None
    inlet = MarkerInlet(info, LslClock())
    markers = []
    while len(markers) < 4 * len(IMAGES):
        pulled = inlet.pull(30)
        assert pulled
        markers += pulled
    inlet.close()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "WITHOUT WINDOW" in said
    assert "12 of 12 images shown" in said
    with log.open(newline="", encoding="utf-8") as file:
        noted = [(row["marker"], float(row["lsl_stamp"])) for row in csv.DictReader(file)]
    assert [(marker.label, marker.stamp) for marker in markers] == noted
    stamps = [stamp for _, stamp in noted]
    assert all(later - earlier > 0.045 for earlier, later in pairwise(stamps))
    assert Counter(label for label, _ in noted) == dict.fromkeys(IMAGES, 4)


def test_a_rehearsal_with_a_recording_as_the_amplifier_is_answered(images: Path, tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, 20)))
    player = LslPlayer(
        Recording(
            name=f"rehearsal-{uuid.uuid4().hex}",
            rate_hz=256.0,
            channels=index_channels(),
            n_samples=5120,
            markers=Markers(np.array([100]), ["its own, which nobody listens to"]),
            reader=array_reader(np.zeros((5120, 3))),
        ),
        wait=False,
        loop=True,
    )
    source_id = f"test-{uuid.uuid4().hex}"
    config = ServeConfig(
        streams=[{"id": "eeg", "lsl": {"source_id": player.source_id}}],
        markers={"streams": [{"source_id": source_id}]},
        decoders=[{"path": tmp_path / "d.onnx"}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
    )
    options = ["--without-window", "--on", "0.05", "--off", "0.05", "--repetitions", "20"]
    options += ["--source-id", source_id, "--log", str(tmp_path / "shown.csv")]
    n, verdicts = 20 * len(IMAGES), Counter()
    with (
        ThreadPoolExecutor(1) as thread,
        subprocess.Popen([sys.executable, str(SCRIPT), str(images), *options]) as script,
        Service(config) as service,
        Subscriber(service.endpoints.publish, ("verdict",)) as subscriber,
    ):
        assert subscriber.wait_joined(10)
        playing = thread.submit(player.run)
        try:
            service.connect()
            while verdicts.total() < n:
                received = subscriber.receive(30)
                assert received is not None, verdicts
                verdicts[received.message.verdict] += 1
        finally:
            player.stop()
            playing.result()
            script.terminate()
    assert verdicts[Verdict.TIMEOUT] == 0
    assert verdicts[Verdict.EMITTED] > n // 2


def test_the_order_is_random_but_known_by_its_seed_and_nothing_comes_twice_in_a_row(
    images: Path, script: ModuleType
) -> None:
    pictures = script.find_pictures(images)
    plans = [script.plan(pictures, 50, 0.5, 0.2, script.random.Random(seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    order = [trial.picture for trial in plans[0]]
    assert all(one != other for one, other in pairwise(order))
    assert all(set(order[start : start + 3]) == set(pictures) for start in range(0, 150, 3))
    assert all(0.5 <= trial.pause_s <= 0.7 for trial in plans[0])


def test_a_table_says_what_the_markers_are(images: Path, script: ModuleType) -> None:
    table = images.parent / "stimuli.csv"
    table.write_text("stimulus_id,code,image\ncat,1,images/cats/*.*g\ndog,2,images/dog.PNG\n")
    pictures = script.find_pictures(table)
    assert [(picture.path.name, picture.marker) for picture in pictures] == [
        ("1.png", "1"),
        ("2.jpg", "1"),
        ("dog.PNG", "2"),
    ]


class Window:
    """As much of PsychoPy's window as the script uses; notes what each frame showed."""

    size = (800, 600)

    def __init__(self, *_: object, **__: object) -> None:
        self.frames: list[tuple[set[str], bool]] = []
        self.drawn: set[str] = set()
        self.on_flip = None

    def getActualFrameRate(self) -> None:  # noqa: N802
        """It could not be measured."""

    def callOnFlip(self, function: object) -> None:  # noqa: N802
        self.on_flip = function

    def flip(self) -> None:
        self.frames.append((self.drawn, self.on_flip is not None))
        self.drawn = set()
        if self.on_flip is not None:
            self.on_flip()
        self.on_flip = None

    def close(self) -> None:
        self.frames.append((set(), False))


class Shape:
    """A picture or the patch; drawing it is noted by its image or colour."""

    def __init__(self, window: Window, *_: object, **__: object) -> None:
        self._window = window
        self.image = self.fillColor = ""

    def draw(self) -> None:
        self._window.drawn.add(Path(self.image).name or self.fillColor)


def test_a_marker_leaves_with_the_flip_that_shows_its_image_and_escape_ends(
    images: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window()
    keys = iter([[]] * 40 + [["escape"]])
    psychopy = ModuleType("psychopy")
    psychopy.visual = SimpleNamespace(Window=lambda *_, **__: window, ImageStim=Shape, Rect=Shape)
    psychopy.event = SimpleNamespace(getKeys=lambda _: next(keys))
    monkeypatch.setitem(sys.modules, "psychopy", psychopy)
    sent: list[str] = []
    outlet = SimpleNamespace(push_sample=lambda values, _: sent.extend(values))
    trials = script.plan(script.find_pictures(images), 9, 0.1, 0.0, script.random.Random(0))
    screen = script.Screen(windowed=True, number=0)
    with (images / "log.csv").open("w") as file:
        script.run(trials, 0.1, screen, script.Markers(outlet, file))
    marked = [drawn for drawn, is_marked in window.frames if is_marked]
    assert len(window.frames) == 41
    assert sent == [trial.picture.marker for trial in trials[: len(sent)]]
    assert marked == [{Path(marker).name, "white"} for marker in sent]
    shown = [drawn for drawn, _ in window.frames if drawn != {"black"}]
    assert shown == [{Path(marker).name, "white"} for marker in sent for _ in range(6)][: len(shown)]


@pytest.mark.skipif(importlib.util.find_spec("psychopy") is not None, reason="PsychoPy is installed")
def test_without_psychopy_one_line_says_what_to_do(images: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(images)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "there is no PsychoPy here: run this with PsychoPy's Python, or rehearse with --without-window"
    ]


def test_its_configuration_of_the_service_listens_to_it(script: ModuleType) -> None:
    config = ServeConfig.load(EXAMPLE / "serve.toml")
    assert [query.source_id for query in config.markers.streams] == [script.SOURCE_ID]
    assert config.markers.table is not None
    assert config.markers.table.is_file()
