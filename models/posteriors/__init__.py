"""Posteriors: the distribution of a layer that a network conditions on what is below."""
