"""Comparison of searches by the regret of the config that they would name, over the compute that they have spent."""
