"""A study as a report: what was found in sentences and figures, as one HTML page, as Markdown, as pictures."""
