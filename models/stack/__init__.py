"""A stack: cells of one shape trained together, the memory of their numbers, their optimiser."""
