"""A study: made, opened, drawn from, told of results, read."""
