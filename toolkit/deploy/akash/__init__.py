"""Endpoints on hardware rented from the Akash network, through the Console API."""
