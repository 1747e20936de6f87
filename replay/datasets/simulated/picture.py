"""A picture of what a simulated device shows, drawn as papers draw it.

Nothing is drawn from the truth: sessions are recorded, filtered as live, cut and averaged.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.datasets.simulated.fmri import FmriSettings
from replay.datasets.simulated.meg import MegSettings
from replay.datasets.simulated.subject import SimulatedSubject
from replay.datasets.simulated.volume import tissues, visual_cortex
from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError
from rtdecode.output import write_file
from rtdecode.signal.design import design_iir, running_detrend
from rtdecode.signal.front_end import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from replay.datasets.simulated.settings import SubjectSettings
    from replay.recordings.recording import Recording

    Array = NDArray[np.float64]

_FORMATS = (".png", ".pdf", ".svg")
_DIM = 32
_BEFORE_S = 0.2
_N_EEG, _N_MEG = 400, 160
_FAST_S = 0.9
_N_SLOW, _SLOW_S = 36, 31.5
_WARM_S = 12.0
_THRESHOLD_T = 3.0
_MARK = "SIMULATED"
_MARK_COLOUR = "#b3261e"


def draw(settings: SubjectSettings, path: Path) -> None:
    """Simulate a session of this subject and draw what its average shows.

    Parameters
    ----------
    settings
        The subject, and by its type the device.
    path
        PNG, PDF or SVG file.

    Raises
    ------
    UserError
        If the file has another ending, or cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in _FORMATS:
        raise UserError(f"{path}: pictures are {', '.join(_FORMATS)}; give the file such an ending")
    from matplotlib import rc_context

    with rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "rtdecode"}
    ):
        figure = _bold(settings) if isinstance(settings, FmriSettings) else _evoked(settings)
        drawn = io.BytesIO()
        figure.savefig(drawn, format=kind[1:], dpi=150)
    write_file(path, drawn.getvalue())


def _session(settings: SubjectSettings, n_trials: int, soa_s: float) -> Recording:
    """Record images whose embeddings are drawn at random."""
    rng = np.random.default_rng(settings.seed)
    population = rng.normal(size=(300, _DIM))
    subject = SimulatedSubject(settings, population)
    shown = rng.integers(len(population), size=n_trials)
    return subject.session([f"image {k}" for k in shown], population[shown], soa_s, 1, _WARM_S)


def _cut(recording: Recording, process: Callable[[Array], NDArray[np.float32]], after_s: float) -> Array:
    """Windows (n, n_times, n_channels) around each marker, in the order of the markers."""
    rate_hz = recording.rate_hz
    before, after = round(_BEFORE_S * rate_hz), round(after_s * rate_hz)
    signal = np.concatenate([process(block) for block in recording.blocks(round(20 * rate_hz) + 1)])
    windows: Array = np.array(
        [signal[at - before : at + after + 1] for at in recording.markers.sample.tolist()], dtype=np.float64
    )
    return windows


def _evoked(settings: SubjectSettings) -> Figure:
    """EEG and MEG: butterfly, global field power, topographies of the peaks, and a channel's spectrum."""
    is_meg = isinstance(settings, MegSettings)
    recording = _session(settings, _N_MEG if is_meg else _N_EEG, _FAST_S)
    rate_hz = recording.rate_hz
    unit, scale = ("fT", 1e15) if is_meg else ("µV", 1e6)
    band = design_iir(rate_hz, highpass_hz=0.1, lowpass_hz=40.0, order=2, highpass_order=1)
    front_end = FrontEnd((band,), len(recording.channels), rate_hz)
    windows = scale * _cut(recording, front_end.process, 0.6)
    time_s = np.arange(windows.shape[1]) / rate_hz - _BEFORE_S
    windows -= windows[:, time_s < 0].mean(axis=1, keepdims=True)
    # Blinks and jumps are thrown out, as anybody would.
    size = np.ptp(windows, axis=1).max(axis=1)
    kept = size < 1.6 * np.median(size)
    average = windows[kept].mean(axis=0)
    if not is_meg:
        average -= average.mean(axis=1, keepdims=True)  # average reference, as topographies are drawn
    power = average.std(axis=1)
    peaks = _peaks(power, time_s)

    figure = _figure(
        9.2,
        6.2,
        f"{'MEG, 272 axial gradiometers' if is_meg else 'EEG, 63 electrodes, average reference'}: "
        f"response to an image, average of {kept.sum()} trials",
    )
    grid = figure.add_gridspec(
        3, len(peaks), height_ratios=(1.5, 1.7, 0.7), left=0.085, right=0.925, top=0.89, bottom=0.085
    )
    positions = np.array([channel.position_m for channel in recording.channels])
    limit = np.abs(average).max()
    for column, peak in enumerate(peaks):
        axes = figure.add_subplot(grid[0, column])
        image = _topography(axes, recording, average[peak - 2 : peak + 3].mean(axis=0), limit)
        axes.set_title(f"{1e3 * time_s[peak]:.0f} ms", fontsize=9)
    bar = figure.colorbar(image, ax=figure.axes[: len(peaks)], fraction=0.012, pad=0.01, shrink=0.8)
    bar.set_label(unit)
    bar.outline.set_visible(False)

    butterfly = figure.add_subplot(grid[1, :])
    colours = (positions - positions.min(axis=0)) / np.ptp(positions, axis=0) * 0.85
    for course, colour in zip(average.T, colours, strict=True):
        butterfly.plot(1e3 * time_s, course, color=colour, linewidth=0.6, alpha=0.85)
    butterfly.set_ylabel(unit)
    butterfly.tick_params(labelbottom=False)
    field = figure.add_subplot(grid[2, :], sharex=butterfly)
    field.fill_between(1e3 * time_s, power, color="0.75", linewidth=0)
    field.plot(1e3 * time_s, power, color="0.2", linewidth=1.2)
    field.set(xlabel="time from image onset (ms)", ylabel=f"GFP ({unit})", ylim=(0, None))
    for axes in (butterfly, field):
        axes.axvline(0, color="k", linewidth=0.8)
        axes.set_xlim(1e3 * time_s[0], 1e3 * time_s[-1])
        for peak in peaks:
            axes.axvline(1e3 * time_s[peak], color="0.5", linewidth=0.7, linestyle=":")
    butterfly.axhline(0, color="0.4", linewidth=0.5)
    _head_of_colours(butterfly, positions, colours)
    return figure


def _peaks(power: Array, time_s: Array) -> list[int]:
    """Samples of the four most prominent peaks of the global field power from 60 ms on, in order."""
    from scipy.signal import find_peaks

    apart = round(0.04 / (time_s[1] - time_s[0]))
    smooth = np.convolve(
        power, np.hanning(2 * (apart // 4) + 1) / np.hanning(2 * (apart // 4) + 1).sum(), "same"
    )
    found, shape = find_peaks(smooth, distance=apart, prominence=0)
    inside = (time_s[found] > 0.06) & (time_s[found] < 0.48)
    most = np.argsort(shape["prominences"][inside])[-4:]
    return sorted(found[inside][most].tolist())


def _topography(axes: Axes, recording: Recording, values: Array, limit: float) -> Any:
    import mne

    is_meg = recording.channels[0].type is ChannelType.MAG
    info = mne.create_info(list(recording.channel_names), recording.rate_hz, "mag" if is_meg else "eeg")
    for channel, ours in zip(info["chs"], recording.channels, strict=True):
        channel["loc"][:3] = ours.position_m
    image, _ = mne.viz.plot_topomap(
        values,
        info,
        axes=axes,
        show=False,
        cmap="RdBu_r",
        vlim=(-limit, limit),
        sensors="k.",
        contours=6,
        sphere=(0.0, 0.0, 0.04, 0.118 if is_meg else 0.114),
        extrapolate="local" if is_meg else "head",
    )
    for dots in (line for line in axes.lines if line.get_marker() == "."):
        dots.set_markersize(0.8 if is_meg else 1.8)
    return image


def _head_of_colours(axes: Axes, positions: Array, colours: Array) -> None:
    """Say where each line of the butterfly was measured."""
    inset = axes.inset_axes((0.005, 0.7, 0.1, 0.3))
    inset.scatter(positions[:, 0], positions[:, 1], c=colours, s=4, linewidths=0)
    inset.set_aspect("equal")
    inset.set_axis_off()


def _bold(settings: FmriSettings) -> Figure:
    """fMRI: where images are seen, what the average response of those voxels is, and one voxel's course."""
    recording = _session(settings, _N_SLOW, _SLOW_S)
    rate_hz = recording.rate_hz
    resting = recording.read(0, 5).mean(axis=0)
    detrend = FrontEnd((running_detrend(400.0),), len(recording.channels), rate_hz)
    windows = _cut(recording, detrend.process, 26.0)
    windows = 100 * (windows - windows[:, :1]) / resting
    time_s = np.arange(windows.shape[1]) / rate_hz - round(_BEFORE_S * rate_hz) / rate_hz
    early = windows[:, (time_s > 3) & (time_s < 8)].mean(axis=1)
    t = early.mean(axis=0) / (early.std(axis=0, ddof=1) / np.sqrt(len(early)))
    best = np.argsort(t)[-60:]

    tesla = settings.name.removeprefix("simulated-").removesuffix("t")
    figure = _figure(
        9.2,
        6.2,
        f"fMRI at {tesla} T, TR {1 / rate_hz:g} s, {settings.voxel_mm:g} mm: "
        f"response to an image, {len(windows)} trials",
    )
    grid = figure.add_gridspec(
        2,
        12,
        height_ratios=(1.1, 1),
        left=0.075,
        right=0.955,
        top=0.9,
        bottom=0.085,
        hspace=0.22,
        wspace=1.6,
    )
    heights_mm = (-12.0, -4.0, 4.0)
    slices = [figure.add_subplot(grid[0, 4 * column : 4 * column + 4]) for column in range(3)]
    images = [
        _slice(axes, settings.voxel_mm, height_mm, t)
        for axes, height_mm in zip(slices, heights_mm, strict=True)
    ]
    bar = figure.colorbar(images[0], ax=slices, fraction=0.014, pad=0.012, shrink=0.75)
    bar.set_label("t")
    bar.outline.set_visible(False)

    course = figure.add_subplot(grid[1, :5])
    for voxel in best[::3]:
        course.plot(time_s, windows[:, :, voxel].mean(axis=0), color="0.75", linewidth=0.7)
    of_trials = windows[:, :, best].mean(axis=2)
    mean, error = of_trials.mean(axis=0), of_trials.std(axis=0, ddof=1) / np.sqrt(len(of_trials))
    course.fill_between(time_s, mean - error, mean + error, color="#d98b84", linewidth=0)
    course.plot(time_s, mean, color=_MARK_COLOUR, linewidth=1.8, marker="o", markersize=3.5)
    course.axhline(0, color="k", linewidth=0.6)
    course.axvline(0, color="k", linewidth=0.8)
    course.set(xlabel="time from image onset (s)", ylabel="signal change (%)")
    course.set_title(f"haemodynamic response, best {len(best)} voxels", fontsize=9)

    voxel = best[-1]
    shown_s = 240.0
    first = int(recording.markers.sample[2])
    stretch = recording.read(first, first + round(shown_s * rate_hz))[:, voxel]
    run = figure.add_subplot(grid[1, 6:])
    run.plot(np.arange(len(stretch)) / rate_hz, stretch, color="0.2", linewidth=0.9)
    for at in recording.markers.sample.tolist():
        if first <= at < first + len(stretch):
            run.axvline((at - first) / rate_hz, color="#5b8db8", linewidth=0.8, alpha=0.7)
    run.set(xlabel="time (s); lines: images", ylabel="signal (a.u.)", xlim=(0, shown_s))
    run.set_title(f"voxel {recording.channel_names[voxel]}, raw", fontsize=9)
    return figure


def _slice(axes: Axes, voxel_mm: float, height_mm: float, t: Array) -> Any:
    """Draw t of visual cortex on the back half of the anatomy, left on the left."""
    cortex = visual_cortex(voxel_mm)
    x, y = np.arange(-72.0, 72.0, 0.7), np.arange(-92.0, 92.0, 0.7)
    across, along = np.meshgrid(x, y)
    places = np.column_stack([across.ravel(), along.ravel(), np.full(across.size, height_mm)])
    grey, white, fluid = tissues(places)
    rough = np.random.default_rng(0).normal(scale=0.025, size=grey.size)
    anatomy = np.clip(0.52 * grey + 0.82 * white + 0.14 * fluid + rough * (grey + white + fluid), 0, 1)
    edges = (x[0], x[-1], y[0], y[-1])
    axes.imshow(
        anatomy.reshape(across.shape),
        cmap="gray",
        origin="lower",
        extent=edges,
        vmin=0,
        vmax=1,
        aspect="equal",
    )
    layer = cortex.index[:, 2] == np.argmin(
        np.abs((np.arange(cortex.grid[2]) - (cortex.grid[2] - 1) / 2) * voxel_mm - height_mm)
    )
    plane = np.full(cortex.grid[:2], np.nan)
    plane[tuple(cortex.index[layer, :2].T)] = t[layer]
    half = np.array(cortex.grid[:2]) * voxel_mm / 2
    strong = np.ma.masked_where(~(plane.T > _THRESHOLD_T), plane.T)
    image = axes.imshow(
        strong,
        cmap="hot",
        origin="lower",
        extent=(-half[0], half[0], -half[1], half[1]),
        vmin=_THRESHOLD_T - 1.5,
        vmax=1.05 * t.max(),
        interpolation="nearest",
    )
    axes.set(xlim=(-58, 58), ylim=(-90, 2))
    axes.set_axis_off()
    axes.set_title(f"z = {height_mm:g} mm", fontsize=9)
    return image


def _figure(width_in: float, height_in: float, title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    figure.text(
        0.02,
        0.965,
        _MARK,
        color="white",
        weight="bold",
        fontsize=10,
        va="center",
        bbox={"facecolor": _MARK_COLOUR, "edgecolor": "none", "boxstyle": "round,pad=0.3"},
    )
    figure.text(0.145, 0.965, title, fontsize=10.5, va="center")
    return figure
