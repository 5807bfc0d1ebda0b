"""The gateway of the guest's network: its services, and the flows that carry guest traffic on through host sockets.

`Gateway` (gateway.py) is the whole of it; `host.py` is the only place with host sockets. See `docs/architecture.md`.
"""
