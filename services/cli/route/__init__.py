"""``millrace route fit``: weights and calibrations from what was learned of own traffic."""
