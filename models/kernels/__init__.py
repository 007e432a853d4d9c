"""What is fast and therefore hard to read, each beside the few plain lines that say what it computes."""
