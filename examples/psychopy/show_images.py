"""Shows images in random order, and sends an LSL marker for each with the stamp of the flip that showed it.

It needs PsychoPy and pylsl, of any version of the last years, and not rtdecode: copy it to the machine that
shows the pictures and change it as you like. ``--without-window`` keeps the same schedule without PsychoPy
and without showing anything, to rehearse with.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import importlib.util
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import pylsl

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE_ID = "rtdecode-psychopy"
"""By it the service finds the markers, also after this script was started anew."""

ENDINGS = {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
MARKER_COLUMNS = ("label", "code", "stimulus_id")
PATCH_PX = 80
LINGER_S = 1.0


class Picture(NamedTuple):
    """An image, and the marker that says that it is shown."""

    path: Path
    marker: str


class Trial(NamedTuple):
    """A picture, and the seconds without any before it comes."""

    picture: Picture
    pause_s: float


def find_pictures(source: Path) -> list[Picture]:
    """All images below a folder, marked by their path in it; or those of a table of stimuli.

    A table (CSV) has the columns ``image``, a path or a pattern relative to the table, and one of
    ``MARKER_COLUMNS``, the first of which is sent.
    """
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS)
        return [Picture(path, path.relative_to(source).as_posix()) for path in found]
    with source.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    column = next((name for name in MARKER_COLUMNS if name in columns), None)
    if column is None or "image" not in columns:
        sys.exit(f"{source}: needs the columns image and one of {', '.join(MARKER_COLUMNS)}")
    pictures = []
    for row in rows:
        found = sorted(source.parent.glob(row["image"]))
        if not found:
            sys.exit(f"{source}: no file matches {row['image']}")
        pictures += [Picture(path, row[column]) for path in found]
    return pictures


def plan(
    pictures: list[Picture], repetitions: int, off_s: float, jitter_s: float, rng: random.Random
) -> list[Trial]:
    """Each picture once in random order, then all of them again; none twice in a row where there are two."""
    trials: list[Trial] = []
    for _ in range(repetitions):
        order = rng.sample(pictures, len(pictures))
        if trials and order[0] == trials[-1].picture:
            order.append(order.pop(0))
        trials += [Trial(picture, off_s + jitter_s * rng.random()) for picture in order]
    return trials


class Screen:
    """A PsychoPy window, with a patch in the lower left corner that is white while a picture is shown.

    A photodiode on the patch tells the delay from the marker to the light: ``rtdecode doctor --photodiode``.
    """

    def __init__(self, *, windowed: bool, number: int) -> None:
        from psychopy import event, visual

        size = (800, 600)
        self._keys = event.getKeys
        self._window = visual.Window(size, fullscr=not windowed, screen=number, color="grey", units="pix")
        self._window.mouseVisible = False
        self._rate_hz = self._window.getActualFrameRate() or 60.0
        self._image = visual.ImageStim(self._window)
        width, height = self._window.size
        corner = ((PATCH_PX - width) / 2, (PATCH_PX - height) / 2)
        self._patch = visual.Rect(self._window, PATCH_PX, PATCH_PX, pos=corner, lineColor=None)

    def pause(self, picture: Picture, seconds: float) -> None:
        """Show no picture; get the next one ready meanwhile."""
        self._frame(shown=False)
        start = time.perf_counter()
        self._image.image = str(picture.path)  # reads the file: before the flip that shows it, not at it
        self._frames(seconds - (time.perf_counter() - start), shown=False)

    def show(self, seconds: float, on_flip: Callable[[], None]) -> None:
        """Show the picture that is ready; ``on_flip`` is called as the first frame of it appears."""
        self._window.callOnFlip(on_flip)
        self._frames(seconds, shown=True)

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _frames(self, seconds: float, *, shown: bool) -> None:
        for _ in range(max(1, round(seconds * self._rate_hz))):
            self._frame(shown=shown)

    def _frame(self, *, shown: bool) -> None:
        if shown:
            self._image.draw()
        self._patch.fillColor = "white" if shown else "black"
        self._patch.draw()
        self._window.flip()
        if self._keys(["escape"]):
            raise KeyboardInterrupt


class NoScreen:
    """Keeps the time of a :class:`Screen`, and shows nothing."""

    def pause(self, picture: Picture, seconds: float) -> None:
        """Wait."""
        if not picture.path.is_file():
            sys.exit(f"there is no image {picture.path}")
        time.sleep(seconds)

    def show(self, seconds: float, on_flip: Callable[[], None]) -> None:
        """Wait, from when ``on_flip`` was called."""
        on_flip()
        time.sleep(seconds)

    def close(self) -> None:
        """Nothing is open."""


class Markers:
    """Sends markers, and notes each in a CSV file as it is sent."""

    def __init__(self, outlet: pylsl.StreamOutlet, file: TextIO) -> None:
        self.n_sent = 0
        self._outlet = outlet
        self._file = file
        self._rows = csv.writer(file)
        self._rows.writerow(["trial", "marker", "lsl_stamp", "image"])

    def send(self, picture: Picture) -> None:
        """Say that a picture has just appeared."""
        stamp = pylsl.local_clock()
        self._outlet.push_sample([picture.marker], stamp)
        self.n_sent += 1
        self._rows.writerow([self.n_sent, picture.marker, repr(stamp), picture.path])

    def flush(self) -> None:
        """Write to disk what was noted: between two pictures, where time does not matter."""
        self._file.flush()


def run(trials: list[Trial], on_s: float, screen: Screen | NoScreen, markers: Markers) -> None:
    """Show all trials, until somebody presses escape or Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        for picture, pause_s in trials:
            screen.pause(picture, pause_s)
            screen.show(on_s, functools.partial(markers.send, picture))
            markers.flush()


def main() -> None:
    """Read the command line, wait for a listener, and show."""
    parser = argparse.ArgumentParser(description="Show images, and send an LSL marker at each flip.")
    parser.add_argument("images", type=Path, help="folder with images, or table (CSV) of stimuli")
    parser.add_argument("--on", type=float, default=0.5, help="seconds that an image is shown [0.5]")
    parser.add_argument("--off", type=float, default=0.5, help="seconds between two images [0.5]")
    parser.add_argument(
        "--jitter", type=float, default=0.2, help="up to so many seconds more, at random [0.2]"
    )
    parser.add_argument("--repetitions", type=int, default=1, help="how often each image is shown [1]")
    parser.add_argument("--seed", type=int, help="of the random order; another each time without it")
    parser.add_argument("--log", type=Path, default=Path("shown.csv"), help="what was shown when [shown.csv]")
    parser.add_argument("--source-id", default=SOURCE_ID, help=f"of the LSL stream [{SOURCE_ID}]")
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for a listener [60]")
    parser.add_argument("--windowed", action="store_true", help="a window in place of the whole screen")
    parser.add_argument("--screen", type=int, default=0, help="number of the screen [0]")
    parser.add_argument("--without-window", action="store_true", help="show nothing, keep the schedule")
    options = parser.parse_args()

    if not options.without_window and importlib.util.find_spec("psychopy") is None:
        sys.exit(
            "there is no PsychoPy here: run this with PsychoPy's Python, or rehearse with --without-window"
        )
    if not options.images.exists():
        sys.exit(f"there is no {options.images}")
    pictures = find_pictures(options.images)
    if not pictures:
        sys.exit(f"no images below {options.images}")
    rng = random.Random(options.seed)
    trials = plan(pictures, options.repetitions, options.off, options.jitter, rng)

    info = pylsl.StreamInfo("images", "Markers", 1, 0.0, "string", options.source_id)
    outlet = pylsl.StreamOutlet(info)
    print(f"{len(trials)} trials; waiting for a listener to LSL markers {options.source_id!r}", flush=True)
    if not outlet.wait_for_consumers(options.wait):
        sys.exit(f"nobody listened within {options.wait:g} s: start `rtdecode serve`, or give --wait")
    if options.without_window:
        print("WITHOUT WINDOW: no image is shown, the markers are sent by a timer", flush=True)
        screen: Screen | NoScreen = NoScreen()
    else:
        screen = Screen(windowed=options.windowed, number=options.screen)
    with contextlib.closing(screen), options.log.open("w", newline="", encoding="utf-8") as file:
        markers = Markers(outlet, file)
        run(trials, options.on, screen, markers)
    time.sleep(LINGER_S)  # liblsl drops what a listener has not fetched when the outlet goes
    print(f"{markers.n_sent} of {len(trials)} images shown; noted in {options.log}", flush=True)


if __name__ == "__main__":
    main()
