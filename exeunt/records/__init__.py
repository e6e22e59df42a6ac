"""What was learnt: feedback, its window, calibration data, state files."""
