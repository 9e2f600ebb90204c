"""The semantic tier: answers to questions that mean the same."""
