"""A forward recorded while it runs on tensors without values: shapes, numbers and layers known for what they are."""
