"""Objectives: what training maximises, of the terms that a network hands over."""
