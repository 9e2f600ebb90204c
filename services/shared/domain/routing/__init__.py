"""Where a request goes: gates, strategies, and what they look at.

The router decides with it, and ``millrace route explain`` shows how.
"""
