"""The OpenAPI document."""

from openapi_spec_validator import validate

from socks6.admin.app import create_app
from socks6.admin.events import EventFeed
from socks6.admin.openapi import document
from socks6.admin.settings import PREFIX
from socks6.admin.users import users_routes
from tests.kit.admin import bridge_of


def test_it_is_valid_and_has_every_route() -> None:
    made = document()
    validate(made)
    described = {
        (PREFIX + path, method.upper())
        for path, operations in made["paths"].items()
        for method in operations
        if method != "parameters"
    }
    bridge = bridge_of()
    served = {
        (route.path.replace(":int", "").replace(":path", ""), method)  # type: ignore[attr-defined]  # they are Routes
        for route in create_app(bridge, EventFeed(bridge), users_routes(bridge)).routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # as above
    }
    assert described == served
    connection = made["components"]["schemas"]["ConnectionInfo"]["properties"]
    assert connection["bytes_up"] == {"type": "integer"}
