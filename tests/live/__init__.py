"""Against the real network, by who wants to pay for it: see `smoke`."""
