"""The parts of `workers.py`: trials an hour, the database's share of a trial, and the checkpoints' share."""
