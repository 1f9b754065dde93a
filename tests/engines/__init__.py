"""The same API over every engine: how each is started for tests, what is asked of it, and the
table of what differs. `python -m tests.engines` is `make engines`."""
