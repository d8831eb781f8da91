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
