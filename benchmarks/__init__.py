"""Timings, which are never tests: `python -m benchmarks` lists them, benchmarks/README.md says what each means."""
