"""Speed beside other gateways: the same guest, the same server, the same run, reported as ratios. `python -m bench`."""
