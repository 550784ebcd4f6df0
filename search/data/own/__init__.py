"""Data that the user's own code returns: data modules, data sets, loaders."""
