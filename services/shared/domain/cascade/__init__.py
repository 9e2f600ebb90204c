"""What an answer is worth, by what it shows.

``asked`` reads what was asked for, ``signals`` an answer, and ``calibration`` makes a probability
of what was read. All of it is pure.
"""
