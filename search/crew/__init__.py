"""Several workers of a run: processes of their own, what each of them has, and how many the machine bears."""
