"""The bundles that the tests update with, by what is wrong with them."""

from .bundles import SLEEPER, Bundle, Bundles, Variant, newer

# A verification that cannot succeed is given up sooner than in the field, so that a test can wait for it.
PATIENCE = "/etc/strata/update.toml"
PATIENCE_S = 60
# The programs of Debian's openssh-server, which an image with SSH switched off does not run.
PACKAGE = ("/usr/sbin/sshd", "/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth")
CRASH = "#!/bin/sh\necho 'strata-encoder: no encoder of this machine works' >&2\nexit 1\n"


# The settings of a newer image: one more key, by a step.
SCHEMA = "/usr/share/strata/settings.toml"
NEW_SETTING = "update.ask_first"
STEP = f"""
[[keys]]
name = "{NEW_SETTING}"
type = "flag"
default = true
meaning = "a key of a newer image"

[[steps]]
operations = [{{ add = {{ key = "{NEW_SETTING}", default = true }} }}]
"""


def good(bundles: Bundles, steps: int = 1) -> Bundle:
    """A newer version without a fault, whose settings have a newer version, too."""
    version = newer(bundles.version, steps)
    return bundles.make(Variant(f"good-{version}", version, {SCHEMA: bundles.read(SCHEMA) + STEP}))


def one_package(bundles: Bundles, steps: int = 2) -> Bundle:
    """A newer version in which one package's files are others."""
    version = newer(bundles.version, steps)
    return bundles.make(Variant(f"one-package-{version}", version, scrambled=PACKAGE))


def without_kernel(bundles: Bundles) -> Bundle:
    """The kernel's file is missing."""
    version = newer(bundles.version, 3)
    return bundles.make(Variant("without-kernel", version, {"/boot/Image": None}))


def panics(bundles: Bundles) -> Bundle:
    """The first process ends, which the kernel answers with a panic."""
    version = newer(bundles.version, 4)
    text = "#!/bin/sh\necho 'this init ends'\nexit 1\n"
    return bundles.make(Variant("panics", version, {"/usr/lib/systemd/systemd": text}))


def agent_never_ready(bundles: Bundles) -> Bundle:
    """The agent starts and never says that it is ready."""
    version = newer(bundles.version, 5)
    files = {"/usr/bin/strata-agent": SLEEPER, PATIENCE: _patient(bundles)}
    return bundles.make(Variant("agent-never-ready", version, files))


def encoder_fails(bundles: Bundles) -> Bundle:
    """The encoder ends at once."""
    version = newer(bundles.version, 6)
    files = {"/usr/bin/strata-encoder": CRASH, PATIENCE: _patient(bundles)}
    return bundles.make(Variant("encoder-fails", version, files))


def _patient(bundles: Bundles) -> str:
    """The update daemon's configuration with a short limit."""
    lines = [line for line in bundles.read(PATIENCE).splitlines() if not line.startswith("verify_limit_s")]
    return "\n".join([f"verify_limit_s = {PATIENCE_S}", *lines]) + "\n"


def for_another_machine(bundles: Bundles) -> Bundle:
    """Made for another board."""
    version = newer(bundles.version, 7)
    return bundles.make(Variant("another-machine", version, compatible="strata-rock-5b-plus", empty=True))


def by_a_stranger(bundles: Bundles) -> Bundle:
    """Signed with a certificate of another authority."""
    return bundles.make(Variant("stranger", newer(bundles.version, 8), signer="stranger", empty=True))


def expired(bundles: Bundles) -> Bundle:
    """Signed with a certificate whose time is over."""
    return bundles.make(Variant("expired", newer(bundles.version, 9), signer="expired", empty=True))


def truncated(bundles: Bundles) -> Bundle:
    """Half of a good bundle."""
    version = newer(bundles.version, 10)
    return bundles.make(Variant("truncated", version, keep=0.5))


def below_the_floor(bundles: Bundles) -> Bundle:
    """Older than one may go back to."""
    return bundles.make(Variant("below-floor", "0.0.1", empty=True))
