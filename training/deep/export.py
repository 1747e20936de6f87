"""Fitted deep decoder to one ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtdecode.errors import UserError
from training.deep.folding import fold
from training.deep.graph import deep_graph
from training.export import check_finite, provenance, write_decoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rtdecode.contracts import DecoderManifest, Validation
    from training.deep.fit import DeepFitted


def export_deep(
    fitted: DeepFitted,
    path: Path | str,
    *,
    name: str,
    dataset: str,
    subject: str | None = None,
    validation: Validation | None = None,
    max_missing: int = 0,
) -> DecoderManifest:
    """Write one person's decoder to one ONNX file with its manifest, and check it against the fit.

    Parameters
    ----------
    fitted
        From :func:`training.deep.fit.fit_deep`.
    path, name, dataset, max_missing
        See :func:`training.export.export`.
    subject
        Whose; may be left out where there is one.
    validation
        Scores on trials that the fit never saw; those of the validation fold where None.

    Returns
    -------
    DecoderManifest
        As it stands in the file, with the largest difference between graph and fit among its scores.

    Raises
    ------
    UserError
        If a number is not finite, the subject is unknown or has to be named, the front end lets alias,
        channels cannot be rebuilt, there is no native window of this subject to check on, the graph differs
        from the fit, or the file cannot be written.
    """
    decoder = fitted.decoder
    if subject is None:
        if len(decoder.subjects) > 1:
            raise UserError(f"say whose decoder to export: it knows {', '.join(decoder.subjects)}")
        subject = decoder.subjects[0]
    (number,) = decoder.subject_numbers([subject])
    for what, tensor in decoder.network.state_dict().items():
        check_finite(what, tensor.cpu().numpy())
    graph = fold(decoder, number)
    center, scale = decoder.center[number], decoder.scale[number]

    def fit_of(head: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda windows: decoder(windows, np.full(len(windows), number))[head]

    trials = fitted.trials
    return write_decoder(
        path,
        deep_graph(graph, decoder.signal, decoder.scaling, center, scale, decoder.heads),
        trials.select((trials.trials["subject"] == subject).to_numpy(bool)),
        decoder.signal,
        decoder.scaling,
        {head: fit_of(head.name) for head in decoder.heads},
        name=name,
        max_missing=max_missing,
        provenance=provenance(
            trials, dataset, f"deep {decoder.model.kind}", fitted.fold_rule, ("torch", "lightning")
        ),
        validation=validation or fitted.validation,
    )
