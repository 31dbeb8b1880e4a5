import threading

import pytest

from fer_hailo.board.channel import Channel, Closed


def started(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_full_channel_waits_and_loses_nothing():
    channel, got = Channel(), []

    def give():
        for number in range(200):
            channel.put(number)
        channel.close()

    giver = started(give)
    got = list(channel)
    giver.join(5)
    assert got == list(range(200)) and channel.dropped == 0


def test_a_dropping_channel_keeps_the_newest():
    channel = Channel(drop=True)
    for number in range(5):
        channel.put(number)
    channel.close()
    assert list(channel) == [4] and channel.dropped == 4


def test_an_error_comes_after_what_was_put_before_it():
    channel, got = Channel(), []
    channel.put(1)
    channel.close(ValueError("lost"))
    with pytest.raises(ValueError, match="lost"):
        for item in channel:
            got.append(item)
    assert got == [1]


def test_cancel_wakes_a_giver_that_waits():
    channel, seen = Channel(), []

    def give():
        try:
            channel.put(1)
            channel.put(2)
        except Closed:
            seen.append("closed")

    giver = started(give)
    channel.cancel()
    giver.join(5)
    assert seen == ["closed"] and list(channel) == []
