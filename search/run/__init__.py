"""A run of a study: widths screened, trials proposed, trained and recorded, in one process or several."""
