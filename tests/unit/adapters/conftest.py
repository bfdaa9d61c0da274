"""What all tests of adapters share."""

from collections.abc import Iterator

import pytest

from tests.kit.adapted import Adapted, adapted


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapted]:
    """Give proxies, and a web site behind them."""
    with adapted(tmp_path_factory.mktemp("adapted")) as running:
        yield running
