"""What is done to a database as a whole: its studies and files listed, deleted, cleared of what is left, copied."""
