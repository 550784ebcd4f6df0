"""The parts of `surrogate.py`: trials recorded at every rung, what a regressor makes of them, and searches on it."""
