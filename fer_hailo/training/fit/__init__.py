"""Losses, schedules, the training loop and its resumable state."""
