import pytest

from tests.kit.link.__main__ import cable
from tests.kit.link.model import Conditions


def test_units() -> None:
    laid, names = cable(["--delay", "50ms", "--jitter=800us", "--loss", "1%", "--rate", "2MB", "--seed", "7"])
    assert laid.there == laid.back == Conditions(delay=0.05, jitter=0.0008, loss=0.01, rate=2e6)
    assert laid.seed == 7
    assert names == ("left", "right")


def test_the_way_back_differs_where_that_is_said() -> None:
    laid, _ = cable(["--delay", "0.05", "--back-delay", "0.1s", "--back-loss", "0.5", "--mtu", "1280"])
    assert laid.there == Conditions(delay=0.05)
    assert laid.back == Conditions(delay=0.1, loss=0.5)
    assert laid.mtu == 1280


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--delay", "5 parsecs"], "is no time"),
        (["--loss", "120%"], "loss 1.2: must be from 0 to 1"),
        (["--rate", "fast"], "is no bytes"),
        (["--delay", "1.2.3"], "is no time"),
        (["--names", "a,a"], "two different names"),
    ],
)
def test_nonsense_is_told_of(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cable(words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
