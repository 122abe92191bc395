"""Namespace `core`."""
