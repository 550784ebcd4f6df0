"""The tables beside Optuna's: what they hold of studies and trials, written, read, and asked in views."""
