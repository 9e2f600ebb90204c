"""How an alias puts the targets that passed the gates into order.

A strategy is a pure function from a situation (request, alias, targets, what was observed) to an
order and its reason. ``fixed``, ``tier`` and ``weighted`` look at request and configuration only;
the others name the figures that decided.
"""
