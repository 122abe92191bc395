"""The cases of `diagnose_verdicts.py` and their training."""
