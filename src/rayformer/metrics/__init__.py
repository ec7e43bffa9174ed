"""Metrics: pure functions that say how good a result is. A metric's name carries its unit: `psnr_db`."""
