"""The catalogue of algorithms: cards by use and a page for each, read from registry, docstrings and options."""
