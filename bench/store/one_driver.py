"""One run at a time drives an address: leases of single jobs are safe on a shared disk, and not at an address.

The run has an object there that it renews every few seconds. Its age is told by the clock of the address, so that no
other clocks need agree. Two runs that begin in the very same moment may both hold it: each job is then trained twice,
to the same bits.
"""

import platform
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from bench.store.address import Address
from bench.store.job_folders import StoreError
from bench.store.leases import RENEW, STALE, Lease
from bench.store.mirror import mirror_of
from bench.store.processes import ours

__all__ = ["DRIVER", "driving"]

DRIVER = ".lossbench-driver"
"""The name of the object."""


@contextmanager
def driving(results: Path) -> Iterator[None]:
    """Be the only run that writes to the address that a folder stands for, with all rows of both in both.

    Nothing is done in a folder that stands for none.

    Raises:
        StoreError: another run drives it, or it cannot be written.
    """
    mirror = mirror_of(results)
    if mirror is None:
        yield
        return
    address, lease = mirror.address, _lease()
    _refuse_second(address)
    address.write(DRIVER, _text(lease))
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(address, lease, over), name="driver", daemon=True)
    renewing.start()
    try:
        address.sweep()
        mirror.fetch(conflicts=True)
        mirror.send_all()
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(StoreError):  # out of reach: it is left behind after a minute
            if _is(address, lease):
                address.remove([DRIVER])


def _refuse_second(address: Address) -> None:
    """See that nobody drives it, and that it can be written."""
    probe = f"{DRIVER}-{secrets.token_hex(4)}"
    address.write(probe, b"")
    try:
        now, held = address.item(probe), address.item(DRIVER)
    finally:
        address.remove([probe])
    if now is None or held is None or now.changed - held.changed >= STALE:
        return
    lease = _read(address)
    if lease is not None and not lease.dead:
        advice = f"let it end; if it was killed, wait {STALE:.0f} seconds"
        raise StoreError(f"{address.text}: another run writes there ({lease.said()}), one at a time may: {advice}")


def _renew(address: Address, lease: Lease, over: threading.Event) -> None:
    while not over.wait(RENEW):
        with suppress(StoreError):  # out of reach now: perhaps not the next time
            if _is(address, lease):
                lease = lease.model_copy(update={"count": lease.count + 1, "renewed": datetime.now(UTC)})
                address.write(DRIVER, _text(lease))


def _lease() -> Lease:
    host, now = re.sub(r"[^\w.-]+", "_", platform.node()), datetime.now(UTC)
    run = secrets.token_hex(8)
    return Lease(key=DRIVER, host=host, **ours()._asdict(), run=run, started=now, renewed=now)


def _text(lease: Lease) -> bytes:
    return lease.model_dump_json().encode()


def _read(address: Address) -> Lease | None:
    try:
        return Lease.model_validate_json(address.read(DRIVER) or b"")
    except ValidationError:
        return None


def _is(address: Address, lease: Lease) -> bool:
    found = _read(address)
    return found is not None and found.run == lease.run
