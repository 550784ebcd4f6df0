"""What branches begin with: which channels stay, and what explains the others."""
