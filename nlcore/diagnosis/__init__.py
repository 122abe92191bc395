"""Diagnosis of a loss before any training: whether curvature will help."""

from nlcore.diagnosis.report import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
