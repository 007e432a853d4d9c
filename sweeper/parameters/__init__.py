"""Words of a study file: the control parameter that is varied, and the order parameter whose collapse is looked for."""
