"""The pure decisions of the semantic cache."""
