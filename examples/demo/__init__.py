"""A worker is killed inside a step, and nothing is lost: `python -m examples.demo`."""
