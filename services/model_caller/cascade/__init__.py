"""Whether an answer is good enough, or the next target is asked.

``faults`` reads what settles it, ``decide`` judges. All of it is pure.
"""
