"""What a study is: its TOML read, changed and checked key by key."""
