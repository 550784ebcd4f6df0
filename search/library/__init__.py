"""What commands do, from Python: a study run with objects of the program's own, its loggers, its result."""
