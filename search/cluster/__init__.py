"""A run whose workers are actors of a Ray cluster: each starts on its node the process that a crew would start here."""
