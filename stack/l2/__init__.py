"""The link layer: Ethernet II, ARP, and the table of neighbours. It knows no more of IP than an address."""
