"""What the device tests share: the device, a relay for it, bundles and their server; and the skipping by name.

Boots are dear: a device is one module's, and each module says in which state it wants it.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from labgrid.pytestplugin.hooks import LABGRID_ENV_KEY
from playwright.sync_api import Page

from rig import processes
from rig.vm.bundles import Bundles
from rig.vm.device import Device
from rig.vm.image import Image, ImageMissing
from rig.vm.person import Person
from rig.vm.server import FileServer
from rig.vm.stack import DeviceStack
from rig.vm.wifi import Neighbourhood

# labgrid tells each command that is run; the console's text has them all.
logging.getLogger("StepLogger").setLevel(logging.WARNING)

RESULTS = Path(__file__).resolve().parents[1] / "results" / "device"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the names of what is missing, the tests whose needs this place does not have."""
    env = config.stash.get(LABGRID_ENV_KEY, None)
    features = set(env.get_target_features()) if env else set()
    if "qemu-disk" in features:
        try:
            Image.built()
        except ImageMissing as error:
            raise pytest.UsageError(str(error)) from error
    for item in items:
        if Path(__file__).parent not in item.path.parents or item.get_closest_marker("tools"):
            continue
        if env is None:
            item.add_marker(pytest.mark.skip(reason="no device is named: run ./dev hil, or give --lg-env"))
            continue
        wanted = {name for mark in item.iter_markers("needs") for name in mark.args}
        if missing := sorted(wanted - features):
            item.add_marker(pytest.mark.skip(reason=f"{Path(env.config_file).stem} has no {', '.join(missing)}"))


def fresh(name: str) -> Path:
    """A folder of the results for one module; kept until it runs again."""
    folder = RESULTS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """Where a module's logs are left."""
    return fresh(request.module.__name__.rpartition(".")[2].removeprefix("test_"))


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest, target, env, folder: Path) -> Iterator[Device]:
    """The device as it left the factory, off; a module may set PROCESSOR for a virtual one.

    What it said on its console is in the module's folder.
    """
    made = Device(target, folder, env.config.get_option("host_address"), env.config.get_option("listen_address"))
    made.renew()
    if "qemu-disk" in made.features:
        made.machine.processor = getattr(request.module, "PROCESSOR", made.machine.processor)
    try:
        yield made
    finally:
        made.cut()
        (folder / "disk.img").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def booted(device: Device) -> Device:
    """The device, running, with a shell."""
    device.boot()
    return device


@pytest.fixture(scope="module")
def neighbourhood(request: pytest.FixtureRequest, device: Device) -> Iterator[Neighbourhood]:
    """The device, running, with no way out but the home router that is around it; a module may set RADIOS."""
    made = Neighbourhood(device, getattr(request.module, "RADIOS", 1))
    try:
        made.prepare()
        device.boot()
        made.begin()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def relay(device: Device, folder: Path) -> Iterator[DeviceStack]:
    """A relay that the device can reach."""
    processes.become_subreaper()
    made = DeviceStack(folder / "relay", host=device.host, listen=device.listen)
    made.folder.mkdir()
    try:
        made.start()
        yield made
    finally:
        made.stop()
        assert made.own_processes() == []


@pytest.fixture(scope="module")
def person(request: pytest.FixtureRequest, device: Device, relay: DeviceStack) -> Iterator[Person]:
    """Somebody with a phone and a home router, and a new device, still off, without a cable; a module may set RADIOS.

    It knows the relay's certificate authority as it knows those of public relays.
    """
    near = Neighbourhood(device, getattr(request.module, "RADIOS", 1))
    near.prepare()
    device.disk.debugfs(
        "rootfs-a",
        "rm etc/ssl/certs/ca-certificates.crt",
        f"write {relay.authority} etc/ssl/certs/ca-certificates.crt",
        "set_inode_field etc/ssl/certs/ca-certificates.crt mode 0100644",
        write=True,
    )
    try:
        yield Person(near)
    finally:
        near.end()


@pytest.fixture
def page(person: Person) -> Iterator[Page]:
    """The sheet that the phone opens."""
    with person.mini_browser() as made:
        yield made


@pytest.fixture(scope="module")
def enrolled(booted: Device, relay: DeviceStack) -> Device:
    """The device, running, enrolled at the relay and online."""
    booted.wait_agent()
    booted.enrol(relay.relay_url, relay.authority, relay.new_token())
    relay.wait_online()
    return booted


@pytest.fixture(scope="session")
def bundles() -> Bundles:
    """Maker of bundles; each is made when a test asks for it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    return Bundles(Image.built(), fresh(f"bundles{worker}"))


@pytest.fixture
def server(bundles: Bundles, device: Device) -> Iterator[FileServer]:
    """The bundles' web server, without faults."""
    made = FileServer(bundles.folder, device.host, device.listen).start()
    try:
        yield made
    finally:
        made.stop()
