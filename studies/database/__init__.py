"""What is known of a study: its database opened, trials and networks kept in it."""
