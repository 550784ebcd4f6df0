"""Networks as files, and what is measured of them."""
