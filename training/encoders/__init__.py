"""Image encoders with published weights: CLIP through open_clip, DINOv2 and others through timm.

They need the extra ``train``; :class:`TargetSettings`, which names one, does not.
"""

from training.encoders.settings import TargetSettings

__all__ = ["TargetSettings"]
