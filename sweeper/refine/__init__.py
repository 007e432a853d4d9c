"""Few cells: where the next ones narrow the interval of the critical value most."""
