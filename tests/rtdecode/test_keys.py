"""Keys are made privately, never overwritten, and every mistake is one line."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
import zmq
from click.testing import CliRunner
from zmq.utils import z85

from rtdecode.bus.curve import ClientKeys, ServiceKeys, allowed_clients, read_key
from rtdecode.errors import UserError
from rtdecode.keys import keys, make_keys

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_holds_what_the_service_and_each_client_need(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "keys"
    made = make_keys(folder, ("retrieve", "watch"))
    assert all(path.is_file() for path in made)
    service = ServiceKeys.load(folder)
    assert set(service.allowed.values()) == {"retrieve", "watch"}
    for name in ("retrieve", "watch"):
        client = ClientKeys.load(folder / "clients" / f"{name}.key_secret")
        assert service.allowed[z85.decode(zmq.curve_public(client.secret))] == name
        assert (
            client.service == zmq.curve_public(service.secret) == read_key(folder / "service.key", "public")
        )


def test_clients_are_added_to_the_keys_that_there_are(tmp_path: Path) -> None:
    make_keys(tmp_path, ("one",))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    make_keys(tmp_path, ("two",))
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(allowed_clients(tmp_path)) == ["one", "two"]
    assert ClientKeys.load(tmp_path / "clients" / "two.key_secret").service == read_key(
        tmp_path / "service.key", "public"
    )


@pytest.mark.skipif(os.name != "posix", reason="no such modes here")
def test_secrets_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_keys(tmp_path / "keys", ("one",))
    finally:
        os.umask(before)
    for path in made:
        if path.suffix == ".key_secret":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("clients", [("one",), ("new", "one"), ()])
def test_nothing_is_overwritten_and_nothing_half_made(tmp_path: Path, clients: tuple[str, ...]) -> None:
    make_keys(tmp_path, ("one",))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError):
        make_keys(tmp_path, clients)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["", "../out", "a/b", ".hidden", "ü", "x" * 65, "a b"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="a name is"):
        make_keys(tmp_path / "keys", (name,))
    assert not (tmp_path / "keys").exists()


def test_a_client_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        make_keys(tmp_path / "keys", ("a", "a"))


@pytest.mark.parametrize(
    "content", ["", "public = 3\n", 'secret = "short"\n', "not toml", "ü", f'secret = "{"#" * 40}"\n']
)
def test_a_file_that_holds_no_key_is_one_line(tmp_path: Path, content: str) -> None:
    make_keys(tmp_path, ("one",))
    path = tmp_path / "clients" / "one.key_secret"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="rtdecode keys make") as caught:
        ClientKeys.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_clients_of_one_key_are_refused(tmp_path: Path) -> None:
    make_keys(tmp_path, ("one",))
    allowed = tmp_path / "allowed"
    (allowed / "twin.key").write_bytes((allowed / "one.key").read_bytes())
    with pytest.raises(UserError, match="same key"):
        ServiceKeys.load(tmp_path)


def test_a_folder_without_keys_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rtdecode keys make"):
        ServiceKeys.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*name another folder"):
        make_keys(tmp_path / "file")


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    make_keys(tmp_path, ("one",))
    service, client = ServiceKeys.load(tmp_path), ClientKeys.load(tmp_path / "clients" / "one.key_secret")
    assert service.secret.decode() not in repr(service)
    assert client.secret.decode() not in repr(client)
    for arguments in (["list", str(tmp_path)], ["make", str(tmp_path), "--client", "two"]):
        printed = CliRunner().invoke(keys, arguments, catch_exceptions=False)
        assert printed.exit_code == 0
        assert service.secret.decode() not in printed.output
        assert client.secret.decode() not in printed.output


def test_it_prints_what_to_write_into_a_configuration_wherever_that_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(keys, ["make", "keys"], catch_exceptions=False).output
    assert f'keys = "{(tmp_path / "keys").resolve().as_posix()}"' in printed


def test_a_folder_in_place_of_a_clients_file_is_told_apart(tmp_path: Path) -> None:
    make_keys(tmp_path, ("one",))
    with pytest.raises(UserError, match=r"is a folder; .*clients.NAME\.key_secret"):
        ClientKeys.load(tmp_path)


def test_the_list_names_each_client_with_its_public_key(tmp_path: Path) -> None:
    make_keys(tmp_path)
    assert "no client is allowed" in CliRunner().invoke(keys, ["list", str(tmp_path)]).output
    make_keys(tmp_path, ("one",))
    lines = CliRunner().invoke(keys, ["list", str(tmp_path)]).output.splitlines()
    assert lines[1].split() == ["one", allowed_clients(tmp_path)["one"].decode()]
