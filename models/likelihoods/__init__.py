"""Likelihoods: the distribution of an image, given what a network puts out for it."""
