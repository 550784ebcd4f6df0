"""Where a database and the files that belong to it lie."""
