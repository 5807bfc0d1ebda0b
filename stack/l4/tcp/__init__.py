"""TCP (RFC 9293), cut into halves that can be read, and tested, one at a time.

The way of a segment up: `layer.py` (which connection) -> `segment.py` (header and options) -> `arrival.py` (RFC 9293 §3.10.7 in its
order) -> `receiver.py` (text) and `sender.py` (acknowledgements). The way down: `connection.py` (the API marks the connection) -> `layer.py`
(whose turn it is) -> `transmit.py` (what to say) -> `emit.py` (the bytes). Time comes in through `timers.py`.

Sequence numbers are unwrapped on the way in and wrapped on the way out (`seq.py`); everywhere between they are plain integers.
"""
