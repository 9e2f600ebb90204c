"""``millrace dlq``: what became dead letters, why, and what to do with them."""
