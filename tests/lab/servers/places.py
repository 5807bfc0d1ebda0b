"""Addresses of the pretend internet: documentation addresses (RFC 5737), and one of an intranet behind the same wire."""

from __future__ import annotations

WWW = "203.0.113.80"
NAMES = "203.0.113.53"
PEERS = "203.0.113.7"

# The same web servers as at WWW, each for tests that would disturb each other at one address: what a guest has once found at an address stays bound to it.
OTHER = "203.0.113.81"
WILD = "203.0.113.82"
SHARED = "203.0.113.83"
CDN = "203.0.113.84"
BAD = "203.0.113.85"
STUFFED = "203.0.113.86"
VICTIM = "203.0.113.87"
FOUND = "203.0.113.88"
LITERAL = "203.0.113.89"
INTRANET = "10.9.9.9"
SITES = (OTHER, WILD, SHARED, CDN, BAD, STUFFED, VICTIM, FOUND, LITERAL, INTRANET)
WEB = (WWW, *SITES)

ALTERNATIVE_PORT = 8080  # of every web server, plain
