"""Parts of benchmarks/predictors.py: problems, candidates of widths, what is recorded of each, and what it says."""
