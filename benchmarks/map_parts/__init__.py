"""The parts of `map.py`: cells, what is tried in them, runs and their record, statistics, and the picture."""
