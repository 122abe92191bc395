"""Timings of nlcore beside other libraries; see `python -m benchmarks --help` and `make benchmarks`."""
