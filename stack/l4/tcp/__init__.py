"""TCP (RFC 9293), cut into halves that can be read, and tested, one at a time.

The way of a segment up: `layer.py` (which connection) -> `segment.py` (header and options) -> `arrival.py` (RFC 9293 §3.10.7 in its
order) -> `receiver.py` (text) and `sender.py` (acknowledgements). The way down: `connection.py` (the API marks the connection) -> `layer.py`
(whose turn it is) -> `transmit.py` (what to say) -> `emit.py` (the bytes). Time comes in through `timers.py`.

Sequence numbers are unwrapped on the way in and wrapped on the way out (`seq.py`); everywhere between they are plain integers.

    the wire            header.py, options.py, segment.py, seq.py                        RFC 9293 §3.1 to §3.4, RFC 7323, RFC 2018
    one connection      state.py, connection.py, config.py, counters.py                  RFC 9293 §3.3, §3.9
    opening             listener.py, incoming.py, negotiation.py, isn.py                 RFC 9293 §3.5, RFC 6528, RFC 7323 §2
    segment arrives     arrival.py; reset.py (CLOSED), listener.py (LISTEN), time_wait.py   RFC 9293 §3.10.7
    against attacks     challenge.py, icmp_errors.py, isn.py, memory.py                  RFC 5961, RFC 5927, RFC 6528
    receiving           receiver.py, receive_queue.py, reassembly.py, timestamps.py      RFC 9293 §3.8.6, RFC 2018, RFC 2883, RFC 7323
    sending             sender.py, send_queue.py, transmit.py, emit.py                   RFC 9293 §3.7, §3.8.6
    time                timers.py, rtt.py, keepalive.py                                  RFC 9293 §3.8.3, §3.8.4, §3.10.8, RFC 6298
    what is lost        flight.py, scoreboard.py, rack.py, tail_probe.py                 RFC 6675, RFC 8985
    what is done then   recovery.py, sack_recovery.py, newreno_recovery.py, prr.py       RFC 5681 §3.2, RFC 6675, RFC 6582, RFC 6937
    and undone          spurious.py                                                      RFC 3522, RFC 5682, RFC 2883
    how fast            congestion.py, newreno.py, cubic.py, hystart.py, ecn.py          RFC 5681, RFC 6928, RFC 9438, RFC 9406, RFC 3168
    how large           negotiation.py, black_hole.py                                    RFC 9293 §3.7.1, RFC 1191, RFC 4821
"""
