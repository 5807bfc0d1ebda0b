"""Speed beside other gateways: the same guest, the same servers, the same run, reported as ratios. `python -m bench`.

| file or folder | what it is |
|---|---|
| `peers/` | what is measured: a class for each gateway, all with one interface |
| `rows/` | what is measured of them: a class for each kind of row |
| `micro/` | rows without a guest: what a packet, a header, a checksum cost in this process |
| `load/` | the programs that run in the guest and on the host; standard library only |
| `run.py` | who is measured when: peers take turns, failures stay with their row |
| `results.py`, `marks.py` | lines of figures, and what they have to reach |
| `table.py`, `report.py`, `picture.py` | how they are shown |
| `policy.py` | a command of its own: what a decision of the policy costs |
"""
