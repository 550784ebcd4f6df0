"""The names by which a study in the database is known; all but the first are written once."""

# The definition that the study was last run with.
DEFINITION = "definition"
# All of it that decides the study's results; written last: a study that has it is complete.
FINGERPRINT = "fingerprint"
# Its own for every study that is made, unlike Optuna's number, which SQLite gives again to the next one.
IDENTITY = "identity"
# What the study measures of its networks; one without it measures accuracy.
METRIC = "metric"
# Set when every combination of a grid was tried.
EXHAUSTED = "exhausted"
# Why no worker of the study is to begin another trial; empty again when a run begins.
ENDED = "ended"
