"""The studies that come with branchfold, as TOML."""
