"""The guest links: each carries whole Ethernet frames between a guest and the gateway.

`link.py` says what a link is; every other file here is one kind of it. Import the kind that you need by its module, so
that a platform without TAP devices never loads the code for them.
"""
