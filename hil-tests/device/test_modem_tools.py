"""What the made-up modem answers; needs no device."""

from pathlib import Path

import pytest

from rig.vm.modem import Modem, SimCard

pytestmark = pytest.mark.tools


@pytest.fixture
def modem(tmp_path: Path) -> Modem:
    return Modem(tmp_path / "modem.log", SimCard())


def test_a_sim_counts_and_locks_itself(modem: Modem):
    tries = '+CSIM=10,"0020000100"'
    assert modem.answer("+CIMI") == ["+CME ERROR: 11"]
    for left in (2, 1):
        assert modem.answer('+CPIN="0000"') == ["+CME ERROR: 16"]
        assert modem.answer(tries) == [f'+CSIM: 4,"63C{left}"', "OK"]
    assert modem.answer('+CPIN="0000"') == ["+CME ERROR: 16"]
    assert modem.answer("+CPIN?") == ["+CPIN: SIM PUK", "OK"]
    assert modem.answer('+CPIN="4711"') == ["+CME ERROR: 12"]
    assert (modem.answer(tries), modem.pins) == (['+CSIM: 4,"6983"', "OK"], ["0000"] * 3)


def test_the_right_pin_opens_a_sim_and_gives_its_tries_back(modem: Modem):
    modem.answer('+CPIN="0000"')
    assert modem.answer('+CPIN="4711"') == ["OK"]
    assert (modem.answer("+CPIN?"), modem.sim.tries) == (["+CPIN: READY", "OK"], 3)
    assert modem.answer("+CIMI") == ["001010123456789", "OK"]
    assert modem.answer("+COPS=3,0;+COPS?") == ['+COPS: 0,0,"Test Mobile",7', "OK"]


def test_what_a_modem_does_not_know_it_refuses(modem: Modem):
    modem.tells_tries = False
    assert modem.answer('+CSIM=10,"0020000100"') == ["+CME ERROR: 4"]
    assert modem.answer("+XYZ?") == ["+CME ERROR: 4"]
    modem.sim = None
    assert modem.answer("+CPIN?") == ["+CME ERROR: 10"]
