"""Losses: pure functions from a prediction and the truth to one number to descend."""
