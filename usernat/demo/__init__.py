"""`usernat demo`: the main job end to end, on any machine, and the packets of it to look at.

servers.py     a DNS server and an HTTP server on host loopback, which stand for the world
visit.py       what a guest does: ping, resolve, fetch; run by a real kernel guest, standard library only
inprocess.py   the same by a guest made of our own stack, with a DHCP lease besides
describe.py    a frame in words
exchange.py    a link that shows what crosses it
show.py        the order of events, and what is said about them
"""
