"""What a study is and what is known of it: definitions, the database, export."""
