"""Networks: the generative and inference networks of one paper each, and what is known of them without torch."""
