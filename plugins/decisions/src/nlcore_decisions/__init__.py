"""Losses over any batched argmin of a linear objective, and exact solvers; importing this package imports no torch."""
