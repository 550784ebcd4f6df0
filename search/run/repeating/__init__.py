"""Recipes that are trained again: finalists, and the trials that a user names."""
