"""Diagnosis of a loss: whether curvature will pay, said before any training."""

from nlcore.diagnosis.report import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
