"""Tests of the Newton engine."""
