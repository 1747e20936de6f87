"""A deep decoder: network, scaling and the people it knows; predicts, and lies on disk as safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from replay.trials import signal_hash
from rtdecode.contracts import Head, Scaling, SignalContract
from rtdecode.errors import MismatchError, UserError, shorten
from rtdecode.output import write_file
from training.deep.settings import FmriModel, MeegModel
from training.fit import baseline_weights, scale_and_clamp, subtract_baseline
from training.networks.fmri import FmriNetwork
from training.networks.meeg import MeegNetwork
from training.networks.sensors import layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from replay.trials import TrialSet

_BATCH = 256
_MODELS: dict[str, type[MeegModel | FmriModel]] = {"meeg": MeegModel, "fmri": FmriModel}


class DecodingNetwork(nn.Module):
    """A network of either kind on one set of channels.

    Parameters
    ----------
    model
        Kind and sizes.
    signal
        Channels, with positions where the network attends to them, and points of a window.
    n_subjects
        People it knows.
    heads
        Dimensions of the outputs, by name.

    Raises
    ------
    UserError
        If sensor positions are needed and lack.
    """

    positions: torch.Tensor
    """Of the sensors ``(n_channels, 2)``; empty where the network does not attend to them."""

    def __init__(
        self, model: MeegModel | FmriModel, signal: SignalContract, n_subjects: int, heads: Mapping[str, int]
    ) -> None:
        super().__init__()
        n_times, n_channels = signal.resampling.n_times, len(signal.channels)
        positions = torch.from_numpy(layout(signal.channels)) if model.kind == "meeg" else torch.empty(0, 2)
        self.register_buffer("positions", positions, persistent=False)
        self.body: MeegNetwork | FmriNetwork
        if model.kind == "meeg":
            self.body = MeegNetwork(model.network, n_times, n_subjects, heads)
        else:
            self.body = FmriNetwork(model.network, n_times, [n_channels] * n_subjects, heads)

    def forward(self, windows: torch.Tensor, subjects: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predict standardised targets (batch, dim), by head.

        Parameters
        ----------
        windows : tensor of shape (batch, n_times, n_channels)
            After baseline, scaling and clamp.
        subjects : tensor of shape (batch,), int64
            Counted from 0.
        """
        if isinstance(self.body, MeegNetwork):
            outputs: dict[str, torch.Tensor] = self.body(windows, self.positions, subjects)
            return outputs
        there = sorted(set(subjects.tolist()))
        rows = [torch.nonzero(subjects == subject)[:, 0] for subject in there]
        parts = [self.body(windows[at], subject) for at, subject in zip(rows, there, strict=True)]
        order = torch.cat(rows).argsort()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    @property
    def of_subjects(self) -> list[nn.Parameter]:
        """What each person has for themselves; all else is shared."""
        if isinstance(self.body, MeegNetwork):
            return [self.body.subject_layer.weights]
        return list(self.body.subject_layers.parameters())

    def for_someone_else(self, other: DecodingNetwork) -> None:
        """Take another network's shared weights, and the mean of its people's layers for everyone here."""
        state = dict(other.body.state_dict())
        if isinstance(self.body, MeegNetwork):
            mean = state["subject_layer.weights"].mean(dim=0, keepdim=True)
            state["subject_layer.weights"] = mean.expand_as(self.body.subject_layer.weights)
        else:
            for part in ("weight", "bias"):
                names = [name for name in state if name.startswith("subject_layers.") and name.endswith(part)]
                mean = torch.stack([state.pop(name) for name in names]).mean(dim=0)
                n = len(self.body.subject_layers)
                state |= {f"subject_layers.{index}.{part}": mean for index in range(n)}
        self.body.load_state_dict(state)


@dataclass(frozen=True)
class DeepDecoder:
    """Windows of known people to embeddings.

    Parameters
    ----------
    model
        How it was fitted.
    signal
        What the windows went through.
    subjects
        Whom it knows, in the order of the network's layers.
    center, scale : arrays of shape (n_subjects, n_channels), float32
        Median and scaled interquartile range of each one's training trials.
    heads
        The embeddings it predicts, in raw units; the first one is what :meth:`predict` gives.
    network
        Predicts standardised targets; in evaluation mode.
    split_sha256
        Hash of the trials that it was fitted on.
    """

    model: MeegModel | FmriModel
    signal: SignalContract
    subjects: tuple[str, ...]
    center: np.ndarray
    scale: np.ndarray
    heads: tuple[Head, ...]
    network: DecodingNetwork
    split_sha256: str

    @property
    def scaling(self) -> Scaling:
        """Baseline and clamp."""
        return Scaling(baseline_s=self.model.baseline_s, clamp=self.model.clamp)

    @property
    def head(self) -> Head:
        """The embedding that :meth:`predict` gives."""
        return self.heads[0]

    def with_head_first(self, name: str) -> Self:
        """Give the same decoder, which predicts that head's embedding."""
        return replace(self, heads=tuple(sorted(self.heads, key=lambda head: head.name != name)))

    def predict(self, trials: TrialSet) -> np.ndarray:
        """Embeddings of all trials of a TrialSet, ``(n, dim)`` float32, in raw units.

        Raises
        ------
        MismatchError
            If the trials went through another front end, window or resampling than the training trials.
        UserError
            If a subject is unknown to the decoder.
        """
        if trials.signal_sha256 != signal_hash(self.signal):
            raise MismatchError(
                f"the trials of {trials.path} went through another front end than those that the decoder was "
                "fitted on: prepare both with the same settings"
            )
        subjects = self.subject_numbers(trials.trials["subject"].tolist())
        parts = [np.empty((0, self.head.space.dim), np.float32)]
        for start in range(0, len(trials), _BATCH):
            rows = np.arange(start, min(start + _BATCH, len(trials)))
            parts.append(self(trials.windows(rows), subjects[rows])[self.head.name])
        return np.concatenate(parts)

    def __call__(self, windows: np.ndarray, subjects: np.ndarray) -> dict[str, np.ndarray]:
        """Embeddings ``(n, dim)``, by head, of windows ``(n, n_times, n_channels)`` of people ``(n,)``."""
        inputs = np.array(windows, dtype=np.float32)
        self.preprocess(inputs, subjects)
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(inputs).to(device), torch.from_numpy(subjects).to(device))
        found = {}
        for head in self.heads:
            sd, mean = (np.array(numbers, np.float32) for numbers in (head.target_sd, head.target_mean))
            found[head.name] = outputs[head.name].float().cpu().numpy() * sd + mean
        return found

    def preprocess(self, windows: np.ndarray, subjects: np.ndarray) -> None:
        """Subtract the baseline, scale and clamp windows ``(n, n_times, n_channels)``, in place."""
        subtract_baseline(windows, baseline_weights(self.signal, self.model.baseline_s))
        center, scale = self.center[subjects][:, None], self.scale[subjects][:, None]
        scale_and_clamp(windows, center, scale, self.model.clamp)

    def subject_numbers(self, names: Sequence[str]) -> np.ndarray:
        """Numbers ``(n,)`` of people.

        Raises
        ------
        UserError
            If one is unknown.
        """
        number = {name: index for index, name in enumerate(self.subjects)}
        if unknown := sorted(set(names) - set(number)):
            raise UserError(
                f"the decoder does not know subject {shorten(unknown)}: it was fitted on "
                f"{shorten([name or '(unnamed)' for name in self.subjects])}; "
                "fit one of this person's own, or start_from this one"
            )
        return np.array([number[name] for name in names], dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write it to one safetensors file, what is no number as JSON in its header."""
        facts = {
            "model": self.model.model_dump(mode="json"),
            "signal": self.signal.model_dump(mode="json"),
            "subjects": self.subjects,
            "heads": [head.model_dump(mode="json") for head in self.heads],
            "split_sha256": self.split_sha256,
        }
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {"center": torch.from_numpy(self.center), "scale": torch.from_numpy(self.scale)}
        write_tensors(path, tensors, facts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If it is missing, damaged, or no deep decoder.
        """
        if not path.is_file():
            raise UserError(f"no deep decoder at {path}: 'rtdecode train fit' makes one")
        try:
            tensors, facts = read_tensors(path)
            model = _MODELS[facts["model"]["kind"]].model_validate(facts["model"])
            signal = SignalContract.model_validate(facts["signal"])
            heads = tuple(Head.model_validate(head) for head in facts["heads"])
            subjects = tuple(facts["subjects"])
            dims = {head.name: head.space.dim for head in heads}
            network = DecodingNetwork(model, signal, len(subjects), dims)
            network.load_state_dict(starting_with("network.", tensors))
            center, scale = tensors["center"].numpy(), tensors["scale"].numpy()
            split_sha256 = str(facts["split_sha256"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} is no deep decoder of this version: fit it again") from error
        return cls(model, signal, subjects, center, scale, heads, network.eval(), split_sha256)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors, and JSON in the file's header, replacing an older file at once."""
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_file(path, save(apart, metadata={"rtdecode": json.dumps(facts)}))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises
    ------
    ValueError
        If it is damaged, or another file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["rtdecode"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{path} is damaged, or another file") from error


def starting_with(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors whose names start so, without that start."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
