"""How a study runs: schedules, space, budget, data, training, one trial, workers, the command line."""
