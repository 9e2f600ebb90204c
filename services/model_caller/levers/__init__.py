"""What is asked of answers and done to prompts: caps, checked JSON, compaction. All is pure."""
