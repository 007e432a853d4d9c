"""Priors of the top layer."""
