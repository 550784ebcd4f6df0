"""The process that something runs in: how it is asked to stop, and what stays off its terminal."""
