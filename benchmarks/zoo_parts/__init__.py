"""The parts of `zoo.py`: drawing and building networks, both tools in processes with limits, checks, tables."""
