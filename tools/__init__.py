"""Commands for whoever releases nlcore; not in a wheel."""
