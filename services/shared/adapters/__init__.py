"""Technologies behind the ports: ``<technology>_<port>.py``, one port each."""
