"""Every kernel that numba compiles; imported only where numba is installed."""
