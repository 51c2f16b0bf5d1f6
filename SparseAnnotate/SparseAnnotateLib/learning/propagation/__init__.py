"""Learned filling: the drawn labels are propagated from slice to slice."""
