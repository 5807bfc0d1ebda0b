"""Tools to test a network stack with: frames good and bad, scripted hosts and peers, links with faults."""
