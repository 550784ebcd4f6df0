"""By what the zoo's results are judged: families of networks, and how exact a fold is to be. Imports no library."""

FAMILIES = ("convolutional", "transformer", "segmentation", "hand-written")
# Relative to the largest output, in float64; statistics of a batch of two magnify what is rounded.
EXACT, EXACT_IN_TRAINING = 1e-9, 1e-6
