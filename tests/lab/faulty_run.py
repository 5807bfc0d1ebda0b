"""`usernat run` on a link with faults: `python -m tests.lab.faulty_run --loss 5 --delay-ms 100 -- CMD`, percentages of frames.

The command line has no such option, since nobody but a test wants one; the guest and its namespaces are the same.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from random import Random

from usernat import Config, UserNat
from usernat.fuzz.delayline import Distance
from usernat.fuzz.faultylink import Faults, FaultyLink
from usernat.namespace.guest import NamespaceGuest

TUNSETOFFLOAD = 0x400454D0  # linux/if_tun.h: with no flags the guest's kernel segments and sums for itself


def main() -> int:
    """The command's exit status."""
    options = _options()
    faults = Faults(
        loss=options.loss / 100,
        duplication=options.duplication / 100,
        reordering=options.reordering / 100,
        lose_at=frozenset(options.lose_at),
    )
    config = Config(mtu=options.mtu)
    with NamespaceGuest(options.command, config) as guest:
        if options.no_offload:
            fcntl.ioctl(guest.link.fileno(), TUNSETOFFLOAD, 0)
        distance = Distance(delay_us=options.delay_ms * 1000) if options.delay_ms else None
        link = FaultyLink(
            guest.link, faults, Random(options.seed), offload=not options.no_offload, distance=distance
        )
        with UserNat(config, link):
            guest.start()
            status = guest.wait()
    weather = {"inward": link.inward.counters.as_dict(""), "outward": link.outward.counters.as_dict("")}
    options.report.write(json.dumps(weather))
    return status


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--no-offload", action="store_true")
    for fault in ("loss", "duplication", "reordering"):
        parser.add_argument(f"--{fault}", type=float, default=0.0)
    parser.add_argument("--lose-at", type=int, nargs="*", default=[])
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=argparse.FileType("w"), default=sys.stderr)
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
