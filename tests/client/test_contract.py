"""The client's half of the contract says what the server's says."""

from exeunt import contract as server
from exeunt_client import contract as client


def test_every_name_of_the_clients_contract_is_the_servers():
    names = [name for name in vars(client) if name.isupper()]
    assert len(names) > 10
    assert {name: getattr(client, name) for name in names} == {name: getattr(server, name) for name in names}


def test_the_reasons_are_the_same():
    assert {reason.name: int(reason) for reason in client.Reason} == {
        reason.name: int(reason) for reason in server.Reason
    }
