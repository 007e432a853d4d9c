"""Random numbers as a function of what they are for, and the generator that a GPU computes by itself."""
