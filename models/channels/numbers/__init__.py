"""Whole numbers of a network's code that follow from widths: as linear forms, and where the code uses them."""
