"""How much a guest may have, whatever it may reach."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class GuestLimits:
    """Caps for one gateway, which serves one guest however many addresses that uses. None: no cap.

    flows: at one time, of all kinds. new_flows_per_second: in the long run; twice that at once.
    upload_bytes_per_second, download_bytes_per_second: payload of streams, and datagrams with their headers, from the guest and to it, in the long run; a second's worth, but
    at least 65,535 bytes, at once.
    total_bytes: payload both ways; when it is used up, the flows end and no new ones begin.

    Raises ValueError for a cap that is not a whole number above 0.
    """

    flows: int | None = None
    new_flows_per_second: int | None = None
    upload_bytes_per_second: int | None = None
    download_bytes_per_second: int | None = None
    total_bytes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{field.name} must be a whole number above 0, not {value!r}")


UNLIMITED = GuestLimits()
