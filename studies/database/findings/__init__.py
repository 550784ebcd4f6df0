"""What a study keeps beside its trials: its network's groups, and what it delivered."""
