"""Who may send to a connection, and from where."""

from peerbus.sfu.ice_lite import (
    CONSENT_TIMEOUT_MS,
    PATH_SILENCE_MS,
    PROBE_TIMEOUT_MS,
    Check,
    IceCredentials,
    IceLite,
    receiver_of,
)
from peerbus.sfu.stun import (
    BINDING_ERROR,
    BINDING_INDICATION,
    BINDING_REQUEST,
    BINDING_SUCCESS,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    USE_CANDIDATE,
    USERNAME,
    has_integrity,
    parse_stun,
    write_stun,
)

LOCAL = IceCredentials("here", "p" * 22)
REMOTE = IceCredentials("there", "q" * 22)
HOME = ("192.0.2.1", 5_000)
CAFE = ("198.51.100.7", 6_000)


def request(
    *,
    username: str = "here:there",
    password: str = LOCAL.password,
    nominates: bool = False,
    role: int = ICE_CONTROLLING,
    kind: int = BINDING_REQUEST,
) -> bytes:
    attributes = [(USERNAME, username.encode()), (role, bytes(8))]
    if nominates:
        attributes.append((USE_CANDIDATE, b""))
    return write_stun(kind, bytes(12), attributes, password.encode())


def receive(ice: IceLite, data: bytes, source: tuple[str, int], now_ms: int = 0) -> Check | None:
    return ice.receive(data, parse_stun(data), source, now_ms)


def test_a_right_check_makes_its_source_valid_and_is_answered() -> None:
    ice = IceLite(LOCAL, REMOTE)
    check = receive(ice, request(), HOME)
    assert check is not None
    assert check.has_moved
    assert parse_stun(check.response).kind == BINDING_SUCCESS
    assert ice.is_valid(HOME)
    assert ice.path == HOME
    assert not ice.is_valid(CAFE)


def test_a_wrong_password_name_or_kind_is_dropped_without_a_word() -> None:
    ice = IceLite(LOCAL, REMOTE)
    assert receive(ice, request(password="x" * 22), HOME) is None
    assert receive(ice, request(username="here:somebody"), HOME) is None
    assert receive(ice, request(kind=BINDING_INDICATION), HOME) is None
    assert ice.path is None
    assert not ice.is_valid(HOME)


def test_only_a_nomination_moves_the_path() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    check = receive(ice, request(), CAFE)
    assert check is not None
    assert not check.has_moved
    assert ice.path == HOME
    assert ice.is_valid(CAFE)
    check = receive(ice, request(nominates=True), CAFE)
    assert check is not None
    assert check.has_moved
    assert ice.path == CAFE


def test_a_path_that_is_silent_gives_way_to_one_that_is_checked() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    # What comes over the path keeps it, be it checks or anything else.
    ice.path_heard_at_ms = 4_000
    check = receive(ice, request(), CAFE, 4_000 + PATH_SILENCE_MS)
    assert check is not None
    assert not check.has_moved
    check = receive(ice, request(), CAFE, 4_001 + PATH_SILENCE_MS)
    assert check is not None
    assert check.has_moved
    assert ice.path == CAFE
    assert ice.path_heard_at_ms == 4_001 + PATH_SILENCE_MS


def test_a_controlled_peer_is_told_of_the_conflict() -> None:
    ice = IceLite(LOCAL, REMOTE)
    check = receive(ice, request(role=ICE_CONTROLLED), HOME)
    assert check is not None
    assert not check.is_valid
    assert parse_stun(check.response).kind == BINDING_ERROR
    assert ice.path is None


def test_silence_takes_the_address_away() -> None:
    ice = IceLite(LOCAL, REMOTE)
    assert ice.expire(0)
    receive(ice, request(), HOME, 0)
    receive(ice, request(), CAFE, 10_000)
    assert ice.expire(CONSENT_TIMEOUT_MS)
    assert ice.path == CAFE
    assert not ice.is_valid(HOME)
    assert not ice.expire(CONSENT_TIMEOUT_MS + 10_000)
    assert ice.path is None


def test_one_peer_cannot_hold_any_number_of_addresses() -> None:
    ice = IceLite(LOCAL, REMOTE)
    for port in range(1, 100):
        receive(ice, request(), ("192.0.2.1", port), port)
    assert len(ice.addresses) == 8
    assert ice.is_valid(("192.0.2.1", 1))


def test_a_restart_asks_for_the_new_name_and_checks_under_way_stay_good() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    ice.restart(IceCredentials("other", "r" * 22))
    assert ice.is_valid(HOME)
    assert receive(ice, request(), CAFE) is not None
    assert receive(ice, request(username="here:other"), CAFE) is not None
    ice.restart(IceCredentials("third", "s" * 22))
    assert receive(ice, request(), CAFE) is None
    assert receive(ice, request(username="here:other"), CAFE) is not None
    assert receive(ice, request(username="here:third"), CAFE) is not None


def test_an_offer_with_the_same_credentials_is_no_restart() -> None:
    ice = IceLite(LOCAL, REMOTE)
    ice.restart(IceCredentials("other", "r" * 22))
    ice.restart(IceCredentials("other", "r" * 22))
    assert receive(ice, request(), HOME) is not None


def test_the_receiver_is_the_part_before_the_colon() -> None:
    assert receiver_of(parse_stun(request())) == "here"
    assert receiver_of(parse_stun(write_stun(BINDING_REQUEST, bytes(12), [], None))) is None
    assert (
        receiver_of(parse_stun(write_stun(BINDING_REQUEST, bytes(12), [(USERNAME, b"\xff")], None))) is None
    )


def answer(transaction: bytes, *, password: str = REMOTE.password, kind: int = BINDING_SUCCESS) -> bytes:
    return write_stun(kind, transaction, [], password.encode())


def answered(ice: IceLite, data: bytes, source: tuple[str, int], now_ms: int) -> bool:
    return ice.answered(data, parse_stun(data), source, now_ms)


def test_where_something_authentic_came_from_is_asked_and_an_answer_moves_the_path() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    asked = ice.probe(CAFE, b"t" * 12, 100)
    assert asked is not None
    message = parse_stun(asked)
    assert message.kind == BINDING_REQUEST
    assert message.attributes[USERNAME] == b"there:here"
    assert has_integrity(asked, message, REMOTE.password.encode())
    assert not ice.is_valid(CAFE)
    assert ice.path == HOME
    assert answered(ice, answer(b"t" * 12), CAFE, 150)
    assert ice.is_valid(CAFE)
    assert ice.path == CAFE
    assert ice.path_heard_at_ms == 150


def test_an_answer_that_is_not_the_peers_moves_nothing() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    assert not answered(ice, answer(b"t" * 12), CAFE, 100)
    ice.probe(CAFE, b"t" * 12, 100)
    assert not answered(ice, answer(b"t" * 12, password="guess" * 5), CAFE, 101)
    assert not answered(ice, answer(b"t" * 12, password=LOCAL.password), CAFE, 101)
    assert not answered(ice, answer(b"u" * 12), CAFE, 101)
    assert not answered(ice, answer(b"t" * 12), ("203.0.113.9", 1), 101)
    assert not answered(ice, answer(b"t" * 12, kind=BINDING_ERROR), CAFE, 101)
    assert not answered(ice, answer(b"t" * 12), CAFE, 101 + PROBE_TIMEOUT_MS)
    assert ice.path == HOME
    assert not ice.is_valid(CAFE)


def test_nobody_is_asked_more_than_five_times_a_second() -> None:
    ice = IceLite(LOCAL, REMOTE)
    receive(ice, request(), HOME)
    asked = [ice.probe(CAFE, bytes([count]) * 12, count * 10) for count in range(100)]
    assert sum(check is not None for check in asked) == 5
