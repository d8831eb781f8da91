"""The data of a stream between the connection and its reader."""

from __future__ import annotations

import asyncio

import pytest

from pyplugin.net.buffer import Buffer


class Filled(Buffer):
    """With what its peer was told of."""

    def __init__(self, *chunks: bytes, is_over: bool = False) -> None:
        self.acks: list[int] = []
        self.asked = asyncio.Semaphore(0)
        super().__init__(self.note)
        for chunk in chunks:
            self.add(chunk, len(chunk))
        if is_over:
            self.eof()

    def note(self, size: int) -> None:
        self.acks.append(size)
        self.asked.release()


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 5], [2, 0, 2, 4, 1], [8, 1]])
async def test_chunks_are_read_in_pieces_of_any_size(sizes: list[int]) -> None:
    buffer = Filled(b"abcd", b"e", b"fghi", is_over=True)
    pieces = [await buffer.read(size) for size in sizes]
    assert [len(piece) for piece in pieces] == sizes
    assert b"".join(pieces) == b"abcdefghi"
    assert await buffer.read(1) == b""
    assert buffer.acks == [4, 1, 4]


async def test_a_peer_is_told_of_no_more_than_a_reader_needs() -> None:
    buffer = Filled(b"abcd", b"e", b"fghi")
    assert buffer.acks == []
    assert await buffer.read(1) == b"a"
    assert buffer.acks == [4]
    assert await buffer.read(4) == b"bcde"
    assert buffer.acks == [4, 1]
    assert buffer.unacked_size() == 4
    assert buffer.unacked_size() == 0


async def test_a_reader_of_more_than_the_window_is_sent_it() -> None:
    buffer = Filled(b"1234")
    reading = asyncio.ensure_future(buffer.read(12))
    for _ in range(2):
        await buffer.asked.acquire()
        buffer.add(b"5678", 4)
    assert await reading == b"123456785678"
    assert buffer.acks == [4, 4, 4]


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    buffer = Filled(b"12")
    reading = asyncio.ensure_future(buffer.read(4))
    await buffer.asked.acquire()
    reading.cancel()
    await asyncio.wait([reading])
    buffer.add(b"34", 2)
    assert await buffer.read(4) == b"1234"


async def test_an_end_inside_of_a_message_is_none_of_it() -> None:
    buffer = Filled(b"12", is_over=True)
    with pytest.raises(AssertionError, match="inside of a message"):
        await buffer.read(3)


async def test_a_reader_hears_of_the_end() -> None:
    for is_whole in (True, False):
        buffer = Filled()
        reading = asyncio.ensure_future(buffer.read(5) if is_whole else buffer.read_some())
        await asyncio.sleep(0)
        buffer.eof()
        assert await reading == b""


async def test_what_has_come_is_read_at_once() -> None:
    buffer = Filled(b"ab", b"cd")
    assert await buffer.read(1) == b"a"
    buffer.add(b"e", 1)
    assert await buffer.read_some() == b"bcde"
    buffer.add(b"f", 1)
    assert await buffer.read_some() == b"f"
    assert buffer.acks == [2, 2, 1, 1]


async def test_padding_is_as_good_as_read() -> None:
    buffer = Filled()
    buffer.add(b"", 7)
    buffer.add(b"data", 9)
    assert buffer.acks == [7, 5]
    assert await buffer.read(4) == b"data"


def head(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big")


# The third looks, in part, as if it were more of them.
MESSAGES = [b"first", b"", bytes(12), b"x" * 300]
STREAM = b"".join(head(message) + message for message in MESSAGES)


async def next_message(buffer: Buffer) -> bytes | None:
    """As a call reads."""
    message = buffer.take_message()
    return await buffer.read_message() if message is None else message


@pytest.mark.parametrize("is_later", [False, True], ids=["here", "later"])
async def test_messages_that_are_split_anywhere(is_later: bool) -> None:
    for end in range(1, len(STREAM)):
        buffer = Filled(STREAM[:end])
        reading = asyncio.ensure_future(read_all(buffer))
        if is_later:
            await asyncio.sleep(0)
        buffer.add(STREAM[end:], len(STREAM) - end)
        buffer.eof()
        assert await reading == MESSAGES
        assert sum(buffer.acks) == len(STREAM)


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(STREAM)])
async def test_messages_in_pieces_of_one_size(size: int) -> None:
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert await read_all(Filled(*pieces, is_over=True)) == MESSAGES


async def read_all(buffer: Buffer) -> list[bytes]:
    messages = []
    while (message := await next_message(buffer)) is not None:
        messages.append(message)
    return messages


async def test_a_reader_that_is_cancelled_inside_of_a_message_loses_nothing() -> None:
    for end in range(1, len(STREAM)):
        buffer = Filled(STREAM[:end])
        messages = []
        while True:
            reading = asyncio.ensure_future(next_message(buffer))
            await asyncio.wait([reading], timeout=0)
            if not reading.done():
                await asyncio.sleep(0)
            if reading.cancel():
                break
            messages.append(reading.result())
        await asyncio.wait([reading])
        buffer.add(STREAM[end:], len(STREAM) - end)
        buffer.eof()
        assert messages + await read_all(buffer) == MESSAGES


async def test_every_reader_hears_of_what_comes() -> None:
    buffer = Filled()
    readings = [asyncio.ensure_future(next_message(buffer)) for _ in range(3)]
    await asyncio.sleep(0)
    for message in (b"one", b"two"):
        buffer.add(head(message) + message, 8)
    buffer.eof()
    assert await asyncio.gather(*readings) == [b"one", b"two", None]


@pytest.mark.parametrize("data", [b"\1\0\0\0\1x", b"\1\0\0\0\0"])
async def test_a_compressed_message_is_none(data: bytes) -> None:
    buffer = Filled(data, is_over=True)
    assert buffer.take_message() is None
    with pytest.raises(NotImplementedError, match="compressed"):
        await buffer.read_message()


@pytest.mark.parametrize("end", range(1, 8))
async def test_an_end_inside_of_a_message_stays_one(end: int) -> None:
    buffer = Filled((head(b"abc") + b"abc")[:end], is_over=True)
    for _ in range(2):
        with pytest.raises(AssertionError, match="inside of a message"):
            await next_message(buffer)
