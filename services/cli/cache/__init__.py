"""``millrace cache``: what the cache holds, why it answers as it does, and how to purge it."""
