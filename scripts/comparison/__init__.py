"""What scripts/compare is made of; nothing outside Python's standard library."""
