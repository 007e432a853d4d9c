"""Hierarchical VAEs, trained many cells at a time. `models.cell` says what a cell is, `models.stack.stack` trains a
stack."""

from models.kernels.reproducible import fix_kernels

fix_kernels()
