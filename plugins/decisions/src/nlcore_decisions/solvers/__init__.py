"""Exact batched solvers of min ⟨c, y⟩, one module for each problem; importing this package does not import torch."""
