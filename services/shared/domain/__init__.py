"""Pure vocabulary: events, ids, money, life cycle, errors, admission. No I/O, clock or randomness."""
