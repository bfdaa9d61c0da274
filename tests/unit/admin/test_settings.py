"""The settings of the admin interface."""

import pytest

from socks6.admin.settings import AUTO, AdminSettings
from socks6.errors import ConfigurationError
from socks6.setting import settings_of


def test_where_it_is_reached_by_http_is_a_host_and_a_port() -> None:
    (http,) = [declared for declared in settings_of(AdminSettings) if declared.key == "http"]
    assert http.facts.parse is not None
    place = http.facts.parse("[::1]:8390")
    assert (place.host, place.port, place.is_local) == ("::1", 8390, True)  # type: ignore[attr-defined]  # a ProxyUrl
    with pytest.raises(ConfigurationError):
        http.facts.parse("localhost:99999")
    assert AdminSettings().socket == AUTO
