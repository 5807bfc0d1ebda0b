"""The internet layer: IPv4, fragments, ICMP, routes. Knows no ports and no flows."""
