"""What the terminal shows of studies and networks: tables, bars, one trial whole, two side by side."""
