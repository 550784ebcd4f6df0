"""Figures of a study, one a file: a table in, what is drawn as a small tuple, and a Plotly figure out."""
