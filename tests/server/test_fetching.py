"""Preloaded models that have to be pulled first: a server comes up, waits, and gets them."""
