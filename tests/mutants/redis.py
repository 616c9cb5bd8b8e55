"""Mutants of what is promised about Redis: refusals, the right server, names, a fast sender."""

from __future__ import annotations

from . import Mutant

LINK = "sanic_chat/broker/link.py"
PUBLISHER = "sanic_chat/broker/publisher.py"
SUBSCRIBER = "sanic_chat/broker/subscriber.py"
ADDRESSES = "sanic_chat/broker/addresses.py"

MUTANTS = (
    Mutant(
        "a signal to the server's group does not leave the embedded Redis behind",
        "sanic_chat/process/embedded_redis.py",
        "trap '' HUP INT QUIT TERM USR1 USR2\n",
        "",
        ("tests/process/test_embedded_redis.py::test_signals_to_the_servers_group_leave_nothing",),
    ),
    Mutant(
        "a refused PING is a sign of life",
        LINK,
        '                self.refused("PING", reply)',
        '                self.rebuild("it refused a PING")',
        ("tests/broker/test_refusals.py::test_redis_publishes_all_the_same",),
    ),
    Mutant(
        "the first reason to give up a connection is the one that is told",
        "sanic_chat/broker/connection.py",
        "        if not self._is_given_up:\n            self._is_given_up = True\n",
        "        if True:\n            self._is_given_up = True\n",
        ("tests/broker/test_refusals.py::test_the_first_reason_is_kept",),
    ),
    Mutant(
        "a forbidden channel is found, and the others of its command are subscribed",
        SUBSCRIBER,
        "if len(channels) > 1 and not is_about_the_command(error):",
        "if False:",
        ("tests/broker/test_refusals.py::test_forbidden_channels_are_found",),
    ),
    Mutant(
        "a SUBSCRIBE that is refused for the moment is sent again",
        SUBSCRIBER,
        "            wanted = channel in self.wanted\n",
        "            continue\n",
        ("tests/broker/test_refusals.py::test_a_busy_script",),
    ),
    Mutant(
        "who joins a forbidden room is told so, in answer to the join",
        "sanic_chat/pod/answers.py",
        "                answer.forbidden.append(room)\n",
        "                pass\n",
        ("tests/server/test_permissions.py::test_a_forbidden_room_refuses_its_join_only",),
    ),
    Mutant(
        "rooms are told without those that Redis refused to the joins before",
        "sanic_chat/pod/commands.py",
        "[name for name in names if name not in gone]",
        "names",
        ("tests/server/test_permissions.py::test_the_rooms_of_who_was_refused",),
    ),
    Mutant(
        "the members of a room that Redis forbids leave it",
        "sanic_chat/pod/broker_events.py",
        "for session, room in self._rooms.put_out(channel):",
        "for session, room in ():",
        ("tests/server/test_permissions.py::test_a_permission_that_is_withdrawn",),
    ),
    Mutant(
        "a name or a PING that the ACL withholds keeps nobody out",
        LINK,
        "if is_needed(command[0], text):",
        "if True:",
        ("tests/server/test_permissions.py::test_the_smallest_acl",),
    ),
    Mutant(
        "a server that has become a replica is found out",
        "sanic_chat/broker/proof.py",
        "        self._role_timer = self._loop.call_later(ROLE_SECONDS, self._ask_role_again)\n",
        "",
        ("tests/server/test_failover.py::test_a_replica_is_left_and_its_name_looked_up",),
    ),
    Mutant(
        "a replica is not connected to",
        LINK,
        "        if wrong := why_wrong(role):",
        "        if wrong := why_wrong(None):",
        ("tests/server/test_failover.py::test_a_name_of_a_primary_and_its_replica",),
    ),
    Mutant(
        "a black hole among the addresses costs a quarter of a second",
        ADDRESSES,
        "timeout=NEXT_ADDRESS_SECONDS if waiting else None,",
        "timeout=None,",
        ("tests/broker/test_addresses.py::test_the_first_that_answers",),
    ),
    Mutant(
        "each attempt begins with another address",
        ADDRESSES,
        "start = turn % len(addresses)",
        "start = 0",
        ("tests/broker/test_addresses.py::test_addresses_that_do_not_work",),
    ),
    Mutant(
        "a slow look-up is not part of the time to connect, nor given up",
        ADDRESSES,
        "        if self._pending is pending:\n            self._pending = None\n        try:",
        "        try:",
        ("tests/broker/test_addresses.py::test_a_slow_name_server",),
    ),
    Mutant(
        "channels that nobody needs are bounded",
        SUBSCRIBER,
        "if len(lingering) > MAX_LINGERING:",
        "if False:",
        ("tests/broker/test_subscriber.py::test_lingering_is_bounded",),
    ),
    Mutant(
        "a Redis that takes nothing holds nobody up for long",
        PUBLISHER,
        "        self._is_stuck = True\n",
        "        pass\n",
        ("tests/broker/test_publisher.py::test_a_stuck_redis_slows_down_for_a_second",),
    ),
)
