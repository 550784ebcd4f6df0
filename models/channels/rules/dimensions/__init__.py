"""Rules of what moves, joins, views and takes apart dimensions."""
