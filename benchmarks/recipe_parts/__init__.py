"""What `benchmarks/recipes.py` is made of."""
