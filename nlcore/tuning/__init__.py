"""Tuning of a relaxation before any training: how soft it should be for the outputs of a network."""

from nlcore.tuning.report import Tuning, TuningPoint, softness_of, tune

__all__ = ["Tuning", "TuningPoint", "softness_of", "tune"]
