"""What a storage holds: studies listed, copied, renamed and deleted, each with its confirmation and its files."""
