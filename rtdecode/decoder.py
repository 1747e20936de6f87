"""Loads, checks and runs one ONNX decoder."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from pydantic import ValidationError

from rtdecode.contracts import DecoderManifest, HeadOutput
from rtdecode.errors import MismatchError, UserError, shorten, validation_line
from rtdecode.providers import usable_providers
from rtdecode.signal.repair import interpolation_matrix

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from rtdecode.contracts import Channel

MANIFEST_KEY = "rtdecode.manifest"
"""Key of the manifest in the ONNX file's ``metadata_props``."""

MOST_TOGETHER = 16
"""How many windows one run takes at the most: more would make the first of them wait for too long."""

_TRIED_TOGETHER = 4
_TRIES = 3
_WORTH_IT = 0.7  # share of the time alone from which on windows are not taken together

WINDOW_INPUT = "window"
"""Graph input: windows ``(batch, n_samples, n_channels)`` float32, native rate, after the front end."""

RESIDUAL_INPUT = "residual_s"
"""Graph input of decoders that shift: ``(batch,)`` float32, the pictures' times minus the onset samples'."""

SPATIAL_INPUT = "spatial"
"""Overridable initializer: spatial matrix ``(n_channels, n_spatial)`` applied from the right."""


@dataclass(frozen=True, slots=True)
class Binding:
    """How one stream feeds one decoder.

    Parameters
    ----------
    pick
        Index in the stream of each decoder channel ``(n_channels,)``; -1 for a channel that the stream lacks.
    missing
        Names of the lacking channels, rebuilt from their neighbours.
    bad
        Names of the channels that are there but declared bad, rebuilt likewise.
    repair
        Matrix ``(n_channels, n_channels)`` that rebuilds them, for :meth:`Decoder.run`, or None.
    takes_all
        Whether the decoder's channels are the stream's, all of them in its order.
    """

    pick: np.ndarray
    missing: tuple[str, ...]
    bad: tuple[str, ...]
    repair: np.ndarray | None
    takes_all: bool

    def select(self, samples: np.ndarray) -> np.ndarray:
        """Stream samples ``(n, n_stream_channels)`` in the decoder's order, zeros where a channel lacks."""
        if self.takes_all:
            return samples
        selected = np.ascontiguousarray(samples[:, self.pick])
        if self.missing:
            selected[:, self.pick < 0] = 0.0
        return selected


class Decoder:
    """One ONNX decoder with its manifest, ready to run.

    Parameters
    ----------
    path
        The ONNX file.

    Raises
    ------
    UserError
        If the file is missing, is not ONNX, was not made by rtdecode, or contradicts its own manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = _read(path)
        self.sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._session = open_session(data)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise UserError(
                f"{path} is not a readable ONNX file (truncated, or no ONNX at all): export the decoder again"
            ) from error
        self.manifest = _manifest(self._session, path)
        self.provider: str = self._session.get_providers()[0]
        self.head_outputs = tuple(
            HeadOutput(name=head.name, role=head.role, dim=head.space.dim) for head in self.manifest.heads
        )
        self._outputs = [head.name for head in self.manifest.heads]
        self._check_graph()
        self._spatial = self._initial_spatial(data)
        self._last_repaired = (np.empty(0), np.empty(0))
        self.most_together = 1
        """How many windows one run may take, as :meth:`warm_up` found."""

    @property
    def name(self) -> str:
        """The decoder's name, from its manifest."""
        return self.manifest.name

    def bind(
        self, stream: str, channels: Sequence[Channel], rate_hz: float, bad: Collection[str] = ()
    ) -> Binding:
        """Match a stream's channels to the decoder's by name.

        Parameters
        ----------
        stream
            What error texts call the stream.
        channels
            All channels of the stream, in its order.
        rate_hz
            Its native rate.
        bad
            Channels declared bad.

        Raises
        ------
        MismatchError
            If rate, type or unit differ, or a channel is missing or bad that may not be rebuilt; all
            differences at once.
        """
        signal = self.manifest.signal
        offered = {channel.name: index for index, channel in enumerate(channels)}
        faults = []
        if not np.isclose(rate_hz, signal.rate_hz, rtol=1e-6, atol=0.0):
            faults.append(f"rate is {rate_hz:g} Hz, the decoder needs {signal.rate_hz:g} Hz")
        for wanted in signal.channels:
            if wanted.name not in offered:
                continue
            found = channels[offered[wanted.name]]
            faults += [
                f"channel {wanted.name} has {field} {getattr(found, field).value}, "
                f"the decoder needs {getattr(wanted, field).value}"
                for field in ("type", "unit")
                if getattr(found, field) != getattr(wanted, field)
            ]
        wanted_names = [channel.name for channel in signal.channels]
        pick = np.array([offered.get(name, -1) for name in wanted_names], dtype=np.intp)
        missing = tuple(name for name in wanted_names if name not in offered)
        declared = tuple(name for name in offered if name in bad and name in wanted_names)
        most = self.manifest.max_missing if self.manifest.on_missing == "repair" else 0
        if len(missing) + len(declared) > most:
            allowed = f" (it rebuilds at most {most})" if most else ""
            if declared:
                faults.append(f"channels declared bad: {shorten(declared)}{allowed or ' (it rebuilds none)'}")
            if missing:
                has = shorten(tuple(offered))
                faults.append(f"channels missing: {shorten(missing)}{allowed}; the stream has {has}")
            if len(missing) < len(wanted_names):
                faults.append("to rebuild more, set [missing] in the file of `rtdecode train` and fit again")
        if faults:
            raise MismatchError(f"stream {stream!r} does not fit decoder {self.name!r}: {'; '.join(faults)}")
        lost = [name in missing or name in declared for name in wanted_names]
        return Binding(
            pick,
            missing,
            declared,
            repair=self._repair(np.flatnonzero(lost)) if any(lost) else None,
            takes_all=wanted_names == list(offered),
        )

    @property
    def shifts(self) -> bool:
        """Whether it shifts windows by their residuals."""
        return self.manifest.signal.resampling.shift_residual

    def run(
        self,
        windows: np.ndarray,
        repair: np.ndarray | None = None,
        residual_s: Sequence[float] | np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Decode windows.

        Parameters
        ----------
        windows : array of shape (batch, n_samples, n_channels), float32
            After the front end, at the native rate.
        repair : array of shape (n_channels, n_channels), optional
            Rebuilds missing and bad channels; see :class:`Binding`.
        residual_s : array of shape (batch,), optional
            Each picture's time minus its onset sample's, seconds of the recording; none where None. Only
            decoders that shift ask for it.

        Returns
        -------
        dict of arrays of shape (batch, dim), float32
            One embedding a head, in raw units.
        """
        feed = {WINDOW_INPUT: windows}
        if repair is not None:
            feed[SPATIAL_INPUT] = self._repaired_spatial(repair)
        if self.shifts:
            residuals = np.zeros(len(windows)) if residual_s is None else residual_s
            feed[RESIDUAL_INPUT] = np.asarray(residuals, np.float32)
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def _repaired_spatial(self, repair: np.ndarray) -> np.ndarray:
        """Spatial matrix of the graph after a repair; the last one is kept, for the next window."""
        last, spatial = self._last_repaired
        if last is not repair:
            spatial = (repair.T @ self._spatial).astype(np.float32)
            self._last_repaired = (repair, spatial)
        return spatial

    def warm_up(self) -> None:
        """Run on noise, so that the first trial does not pay for lazy set-up; see what windows gain together.

        A linear decoder reads its weights once a run, however many windows it takes; a deep one computes, and
        gains nothing. Windows are only taken together where each comes out as it does alone, to the last bit:
        an answer must not depend on what else happened to be waiting.
        """
        signal = self.manifest.signal
        shape = (signal.window.n_samples, len(signal.channels))
        windows = np.random.default_rng(0).standard_normal((_TRIED_TOGETHER, *shape), np.float32)
        residual_s = np.linspace(-0.5, 0.5, MOST_TOGETHER) / signal.rate_hz
        self.run(windows[:1])
        self.most_together = 1
        if self._takes_one:
            return
        alone_s, together_s = self._seconds(windows[:1]), self._seconds(windows[:_TRIED_TOGETHER])
        if together_s > _WORTH_IT * _TRIED_TOGETHER * alone_s:
            return
        # Only now: for a decoder of many channels these are tens of megabytes.
        windows = np.random.default_rng(0).standard_normal((MOST_TOGETHER, *shape), np.float32)
        alone = [self.run(windows[i : i + 1], residual_s=residual_s[i : i + 1]) for i in range(MOST_TOGETHER)]
        for n in range(2, MOST_TOGETHER + 1):
            together = self.run(windows[:n], residual_s=residual_s[:n])
            if any(
                found[i].tobytes() != alone[i][name].tobytes()
                for name, found in together.items()
                for i in range(n)
            ):
                break
            self.most_together = n

    def _seconds(self, windows: np.ndarray) -> float:
        """Shortest time of a few runs."""
        shortest = np.inf
        for _ in range(_TRIES):
            start = time.perf_counter()
            self.run(windows)
            shortest = min(shortest, time.perf_counter() - start)
        return shortest

    def _check_graph(self) -> None:
        signal = self.manifest.signal
        shapes = {node.name: list(node.shape) for node in self._session.get_inputs()}
        batch, *found = shapes.get(WINDOW_INPUT, [None])
        self._takes_one = batch == 1
        wanted = [signal.window.n_samples, len(signal.channels)]
        if found != wanted:
            raise UserError(
                f"{self.path} contradicts its manifest: input {WINDOW_INPUT!r} is {found}, "
                f"the manifest says {wanted}; export the decoder again"
            )
        if (RESIDUAL_INPUT in shapes) is not self.shifts:
            raise UserError(
                f"{self.path} contradicts its manifest: it has {'an' if RESIDUAL_INPUT in shapes else 'no'} "
                f"input {RESIDUAL_INPUT!r}, against shift_residual {self.shifts}; export the decoder again"
            )
        dims = {node.name: node.shape[-1] for node in self._session.get_outputs()}
        for head in self.manifest.heads:
            if dims.get(head.name) != head.space.dim:
                raise UserError(
                    f"{self.path} contradicts its manifest: output {head.name!r} has dimension "
                    f"{dims.get(head.name)}, the manifest says {head.space.dim}; export the decoder again"
                )

    def _initial_spatial(self, data: bytes) -> np.ndarray | None:
        if self.manifest.on_missing == "refuse":
            return None
        import onnx  # only decoders that may be repaired need the initializer itself

        graph = onnx.load_from_string(data).graph
        return next(
            onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == SPATIAL_INPUT
        )

    def _repair(self, lost: np.ndarray) -> np.ndarray:
        positions = [channel.position_m for channel in self.manifest.signal.channels]
        if any(position is None for position in positions):
            raise MismatchError(
                f"decoder {self.name!r} cannot rebuild channels: its manifest has no sensor positions"
            )
        return interpolation_matrix(np.array(positions, dtype=float), lost.tolist())


def open_session(data: bytes) -> onnxruntime.InferenceSession:
    """Load an ONNX file's bytes as the service does; onnxruntime's own exceptions come through."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Spinning threads would take the ingest threads' cores between two trials.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(data, options, providers=usable_providers())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read decoder {path}: {error.strerror}; `rtdecode train fit` makes one"
        ) from error


def _manifest(session: onnxruntime.InferenceSession, path: Path) -> DecoderManifest:
    text = session.get_modelmeta().custom_metadata_map.get(MANIFEST_KEY)
    if text is None:
        raise UserError(
            f"{path} is an ONNX file but no rtdecode decoder (it carries no manifest): "
            "make one with 'rtdecode train fit'"
        )
    try:
        return DecoderManifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{path} has a manifest that this version cannot read: {validation_line(error)}"
        ) from error
