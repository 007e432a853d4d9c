"""Where the transition is, from a store's rows alone: curves, critical ρ, tables, figures. Nothing here needs torch."""
