"""The tables brought to this version's form, whatever made the database, with a copy kept beside."""
