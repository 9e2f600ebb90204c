"""Capabilities the processors ask for, as Protocols, one a file."""
