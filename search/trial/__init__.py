"""One trial, and what it needs: the study's data and costs, its baseline, measurements."""
