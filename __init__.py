"""branchfold: searches how to shrink a trained convolutional network by branches that take over and fold away."""

__version__ = "0.1.0"
