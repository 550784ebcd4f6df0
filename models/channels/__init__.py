"""Which channels must share one width: layouts of tensors, channel groups, and the rules that make them."""
