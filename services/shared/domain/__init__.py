"""Pure vocabulary: events, ids, money, life cycle, errors, admission; no I/O, clock or chance."""
