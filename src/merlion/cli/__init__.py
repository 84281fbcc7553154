"""The host side, ordinary Python: build, run, serve, models, checks. See `merlion --help`."""
