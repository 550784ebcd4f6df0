"""The command line: its commands, and how they read options and show results."""
