"""Whether an answer is good enough, or the next target is asked.

``signals`` reads an answer, ``calibration`` makes a probability of what was read, ``decide``
judges. All of it is pure.
"""
