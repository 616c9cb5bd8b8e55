"""Mutants of what is promised about many rooms, personal rooms and receipts."""

from __future__ import annotations

from . import Mutant

ANSWERS = "sanic_chat/pod/answers.py"
COMMANDS = "sanic_chat/pod/commands.py"
HUB = "sanic_chat/hub/hub.py"
RECEIPTS = "sanic_chat/pod/receipts.py"

MODEL = "tests/pod/test_pod_model.py"
STEPS = "tests/pod/test_many_rooms.py::test_steps_in_proportion"

MUTANTS = (
    # -- rooms -----------------------------------------------------------------------------
    Mutant(
        "to leave many rooms is to be written once what was said there before",
        HUB,
        "(channel.fan_outs or channel.is_due(session))",
        "(channel.fan_outs or channel.pending)",
        (STEPS,),
    ),
    Mutant(
        "an answer does not look at all rooms of its client",
        HUB,
        "if len(self._dirty) <= len(session.channels):",
        "if False:",
        (STEPS,),
    ),
    Mutant(
        "the rooms of a client are counted once a command",
        COMMANDS,
        "rooms += enter(session, name, message, rooms)",
        "enter(session, name, message, self._rooms.count(session))",
        (STEPS,),
    ),
    Mutant(
        "the rooms that one command joins count for the next of them",
        COMMANDS,
        "rooms += enter(session, name, message, rooms)",
        "enter(session, name, message, rooms)",
        ("tests/server/test_rooms.py::test_many_at_once",),
    ),
    Mutant(
        "few rooms may be waited for",
        ANSWERS,
        "or rooms >= MAX_WAITING_ROOMS:",
        "or False:",
        ("tests/pod/test_answers.py::test_few_rooms_may_be_waited_for",),
    ),
    Mutant(
        "who waits for a lost Redis is answered",
        "sanic_chat/pod/broker_events.py",
        "        self._answers.stop_waiting()\n",
        "        pass\n",
        ("tests/pod/test_answers.py::test_redis_goes_away",),
    ),
    Mutant(
        "who joins waits while Redis takes nothing",
        "sanic_chat/pod/load.py",
        "fills = self._subscriber.congested",
        "fills = False",
        ("tests/pod/test_load.py::test_a_redis_that_is_behind_with_subscribing",),
    ),
    # -- personal rooms --------------------------------------------------------------------
    Mutant(
        "a user's room is for that user only",
        "sanic_chat/pod/access.py",
        "if room == personal_room(user):",
        "if room.startswith(PERSONAL):",
        (MODEL,),
    ),
    Mutant(
        "the stats name nobody's personal room",
        "sanic_chat/pod/snapshot.py",
        " and not room.startswith(PERSONAL):",
        ":",
        ("tests/pod/test_snapshot.py::test_personal_rooms_are_not_named",),
    ),
    Mutant(
        "no name is a user's that no user can have",
        "sanic_chat/protocol/personal_room.py",
        "len(user) <= MAX_USER_CHARACTERS and ",
        "",
        ("tests/protocol/test_personal_room.py::test_users_are_bounded",),
    ),
    Mutant(
        "who is not in a room is told no number of it",
        RECEIPTS,
        "            if not is_member:\n",
        "            if False:\n",
        ("tests/pod/test_receipts.py::test_who_is_not_in_the_room_gets_no_numbers",),
    ),
    # -- receipts --------------------------------------------------------------------------
    Mutant(
        "what was not published has no ack",
        RECEIPTS,
        'events.Nack(id.decode(), "unavailable", why)',
        "events.Ack(id.decode())",
        (MODEL,),
    ),
    Mutant(
        "what was published has an ack",
        "sanic_chat/broker/publisher.py",
        "                    receipt.on_published(reply)\n",
        "                    pass\n",
        (MODEL,),
    ),
    Mutant(
        "what is not known to have been published is a nack",
        "sanic_chat/broker/publisher.py",
        "                self._drop(Drop.UNCONFIRMED, receipt)\n",
        "                pass\n",
        (MODEL,),
    ),
    Mutant(
        "many receipts at once close nobody",
        RECEIPTS,
        "room = self._share - session.queued_messages",
        "room = 10**9",
        ("tests/pod/test_receipts.py::test_a_client_that_reads_slowly_gets_all",),
    ),
    Mutant(
        "who does not take its receipts is not read from",
        RECEIPTS,
        "            session.hold(Hold.RECEIPTS)\n",
        "            pass\n",
        ("tests/pod/test_receipts.py::test_who_does_not_take_them_is_not_read_from",),
    ),
    Mutant(
        "who takes no receipt for ever is closed",
        RECEIPTS,
        "if waiting.idle_looks < PATIENCE_LOOKS:",
        "if True:",
        ("tests/pod/test_receipts.py::test_who_reads_nothing_is_closed",),
    ),
)
