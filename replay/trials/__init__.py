"""Windows of known stimuli on disk: one float32 array a session, memory-mapped, and one table of trials."""

from replay.trials.layout import COLUMNS, signal_hash
from replay.trials.trial_set import TrialSet
from replay.trials.writer import TrialSetWriter

__all__ = ["COLUMNS", "TrialSet", "TrialSetWriter", "signal_hash"]
