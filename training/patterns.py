"""What a linear decoder looks at: weights say how it suppresses noise, patterns what the brain does.

Haufe et al. 2014, *On the interpretation of weight vectors of linear models in multivariate neuroimaging*,
NeuroImage 87: for predictions s = W'x the patterns are A = cov(x) W cov(s)^-1.
"""

from __future__ import annotations

import numpy as np

from training.metrics import pearson


def haufe_patterns(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Activation patterns of a linear decoder, column by column: how inputs go with each prediction.

    Each output is taken for itself, as ridge fits it: column j is cov(x) w_j / var(x w_j).

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
        Inputs that the decoder was fitted on.
    weights : array of shape (n_features, n_targets)

    Returns
    -------
    array of shape (n_features, n_targets)
        Units of the input for each unit of the prediction; 0 for an output that never varies.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    predictions = x @ weights
    predictions = predictions - predictions.mean(axis=0)
    variance = np.einsum("ij,ij->j", predictions, predictions)
    covariance = x.T @ predictions - np.outer(mean, predictions.sum(axis=0))
    patterns: np.ndarray = np.divide(
        covariance, variance, out=np.zeros_like(covariance, dtype=np.float64), where=variance > 0
    )
    return patterns


def temporal_generalisation(
    windows: np.ndarray, weights: np.ndarray, intercepts: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Score of decoders of one time at each other time: how long a code stays the same.

    King and Dehaene 2014, *Characterizing the dynamics of mental representations: the temporal generalization
    method*, Trends in Cognitive Sciences 18.

    Parameters
    ----------
    windows : array of shape (n, n_times, n_channels)
        Test trials, scaled as in training.
    weights : array of shape (n_times, n_channels, dim)
        Of a decoder fitted at each time.
    intercepts : array of shape (n_times, dim)
    targets : array of shape (n, dim)
        True embeddings.

    Returns
    -------
    array of shape (n_times, n_times)
        Feature-wise Pearson R: row, time of fitting; column, time of decoding.
    """
    n_times = windows.shape[1]
    found = np.empty((n_times, n_times))
    for fitted in range(n_times):
        for decoded in range(n_times):
            predictions = windows[:, decoded] @ weights[fitted] + intercepts[fitted]
            found[fitted, decoded] = pearson(predictions, targets)
    return found
