"""Hierarchical VAEs, trained many cells at a time. `models.cell` says what a cell is, `models.training` trains a
stack."""

from models.reproducible import fix_kernels

fix_kernels()
