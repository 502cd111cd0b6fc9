"""Many tables of probabilities in, one answer for each row out: weights, calibration, thresholds and what they are worth."""
