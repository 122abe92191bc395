"""The registered losses: an exact solver with any of the methods; importing this package imports no torch."""
