"""What is done to single layers: narrowed, copied, put into a mode, their statistics recomputed."""
