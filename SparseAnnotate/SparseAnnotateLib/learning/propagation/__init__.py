"""Learned filling: the drawn labels are carried from slice to slice."""
