"""Chains: ways of several runs, and the journeys along them."""
