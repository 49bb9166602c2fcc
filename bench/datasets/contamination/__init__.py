"""Contamination: whether test images were seen before the test."""
