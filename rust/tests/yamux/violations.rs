//! What the peer may not do: each ends the session, with a go-away, for good.

use pyplugin_rust::yamux::{
    Config, FIN, GoAway, INITIAL_WINDOW, Kind, LocalError, RemoteError, SYN, SessionError, Side,
};

use crate::ends::{End, Seen, data, frame, go_away, update};

fn breaks(bytes: &[u8], expected: RemoteError) {
    for size in [1, bytes.len()] {
        let mut server = End::new(Side::Server);
        server.receive(&update(SYN, 1, 0));
        server.session.send(1, vec![7; 100]).unwrap();
        let error = SessionError::Remote(expected);
        let events: Vec<_> = bytes.chunks(size).flat_map(|chunk| server.receive(chunk)).collect();
        assert_eq!(events.last(), Some(&Seen::Failed(error)), "{events:?}");
        is_over(&mut server, error);
        assert_eq!(server.headers(), [go_away(GoAway::ProtocolError)]);
        is_over(&mut server, error);
        assert_eq!(server.headers(), []);
    }
}

fn is_over(end: &mut End, error: SessionError) {
    let over = Err(LocalError::Session(error));
    let session = &mut end.session;
    assert_eq!(session.failure(), Some(error));
    assert_eq!(session.receive(&mut &update(SYN, 1, 0)[..], end.now), Err(error));
    assert_eq!(session.open(end.now).map(drop), over);
    assert_eq!(session.send(1, vec![1]).map(drop), over);
    assert_eq!(session.accept(1), over);
    assert_eq!(session.consume(1, 1), over);
    assert_eq!(session.finish(1), over);
    assert_eq!(session.reset(1), over);
    assert_eq!(session.go_away(), over);
    assert_eq!(session.ping(end.now), over);
    assert_eq!(session.handle_timeout(end.now), Err(error));
    session.receive_eof();
    assert_eq!(session.failure(), Some(error));
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.poll_event(), None);
    assert_eq!((session.stream_count(), session.queued(1)), (0, 0));
}

#[test]
fn another_version() {
    let mut bytes = update(SYN, 3, 0);
    bytes[0] = 1;
    breaks(&bytes, RemoteError::Version { found: 1 });
}

#[test]
fn an_unknown_kind() {
    let mut bytes = update(SYN, 3, 0);
    bytes[1] = 4;
    breaks(&bytes, RemoteError::Kind { found: 4 });
}

#[test]
fn a_stream_frame_for_stream_0() {
    breaks(&data(0, 0, b"x"), RemoteError::NoStream);
    breaks(&update(0, 0, 1), RemoteError::NoStream);
    breaks(&update(SYN, 0, 1), RemoteError::NoStream);
}

#[test]
fn an_id_of_ours() {
    breaks(&update(SYN, 2, 0), RemoteError::Parity { stream: 2 });
    let mut client = End::new(Side::Client);
    let error = RemoteError::Parity { stream: 1 };
    assert_eq!(client.receive(&data(SYN, 1, b"")), [Seen::Failed(SessionError::Remote(error))]);
}

#[test]
fn to_open_what_is_open() {
    breaks(&update(SYN, 1, 0), RemoteError::Duplicate { stream: 1 });
}

#[test]
fn data_past_the_window() {
    let most = INITIAL_WINDOW;
    let exceeded = |window, found| RemoteError::WindowExceeded { stream: 1, window, found };
    breaks(&frame(Kind::Data, 0, 1, most + 1), exceeded(most, most + 1));
    breaks(&frame(Kind::Data, 0, 1, u32::MAX), exceeded(most, u32::MAX));
    let full = data(0, 1, &vec![0; most as usize]);
    breaks(&[full, data(0, 1, b"x")].concat(), exceeded(0, 1));
}

#[test]
fn data_past_any_window_on_a_stream_that_is_gone() {
    let found = INITIAL_WINDOW + 1;
    let error = RemoteError::WindowExceeded { stream: 9, window: INITIAL_WINDOW, found };
    breaks(&frame(Kind::Data, 0, 9, found), error);
}

#[test]
fn a_window_past_32_bits() {
    let window = INITIAL_WINDOW;
    let overflow = |window, found| RemoteError::WindowOverflow { stream: 1, window, found };
    breaks(&update(0, 1, u32::MAX), overflow(window, u32::MAX));
    let full = update(0, 1, u32::MAX - window);
    breaks(&[full, update(0, 1, 1)].concat(), overflow(u32::MAX, 1));
}

#[test]
fn to_finish_twice() {
    let error = RemoteError::FinishedTwice { stream: 1 };
    breaks(&[update(FIN, 1, 0), update(FIN, 1, 0)].concat(), error);
    breaks(&[data(FIN, 1, b"x"), data(FIN, 1, b"x")].concat(), error);
}

#[test]
fn to_open_streams_and_read_nothing() {
    let mut server = End::with(Side::Server, Config { accept_backlog: 0, ..Config::default() });
    let syns: Vec<u8> = (0..1024).flat_map(|index| update(SYN, index * 2 + 1, 0)).collect();
    assert_eq!(server.receive(&syns), []);
    assert_eq!(server.headers().len(), 1024);
    assert_eq!(server.receive(&syns), []);
    let error = SessionError::Remote(RemoteError::Flood { refusals: 1024 });
    assert_eq!(server.receive(&update(SYN, 1, 0)), [Seen::Failed(error)]);
    assert_eq!(server.headers(), [go_away(GoAway::ProtocolError)]);
}

#[test]
fn what_came_before_is_told_before() {
    let mut server = End::new(Side::Server);
    let bytes = [update(SYN, 1, 0), data(0, 1, b"hello"), update(SYN, 1, 0)].concat();
    let error = SessionError::Remote(RemoteError::Duplicate { stream: 1 });
    let events = [Seen::Opened(1), Seen::Data(1, b"hello".to_vec()), Seen::Failed(error)];
    assert_eq!(server.receive(&bytes), events);
}

#[test]
fn each_has_its_words() {
    let errors = [
        (RemoteError::Version { found: 1 }, "expected yamux version 0, got 1"),
        (RemoteError::Kind { found: 9 }, "expected a frame type from 0 to 3, got 9"),
        (RemoteError::NoStream, "a data or window frame for stream 0"),
        (RemoteError::Parity { stream: 2 }, "the peer opened stream 2, an id of this side"),
        (RemoteError::Duplicate { stream: 1 }, "the peer opened stream 1, which is open"),
        (
            RemoteError::WindowExceeded { stream: 1, window: 2, found: 3 },
            "stream 1: 3 bytes came, 2 were allowed",
        ),
        (
            RemoteError::WindowOverflow { stream: 1, window: 2, found: 3 },
            "stream 1: a window of 2 cannot grow by 3",
        ),
        (RemoteError::FinishedTwice { stream: 1 }, "stream 1 was finished twice"),
        (RemoteError::Flood { refusals: 5 }, "the peer opens streams while 5 refusals wait for it"),
    ];
    for (error, text) in errors {
        assert_eq!(SessionError::Remote(error).to_string(), text);
    }
    let errors = [
        (SessionError::GaveUp { code: 1 }, "the peer reports a protocol error of ours"),
        (SessionError::GaveUp { code: 2 }, "the peer gave up the session, code 2"),
        (SessionError::PingTimeout, "the peer did not answer a ping in time"),
        (SessionError::OpenTimeout { stream: 1 }, "the peer did not acknowledge stream 1 in time"),
        (SessionError::Closed, "the connection is closed"),
    ];
    for (error, text) in errors {
        assert_eq!(LocalError::Session(error).to_string(), text);
    }
    let errors = [
        (LocalError::GoingAway, "the session takes no new streams"),
        (
            LocalError::TooManyUnacknowledged,
            "too many streams wait for the peer to acknowledge them",
        ),
        (LocalError::IdsExhausted, "every stream id was used"),
        (LocalError::NoStream { stream: 1 }, "stream 1 is gone"),
        (LocalError::Finished { stream: 1 }, "stream 1 is finished"),
        (
            LocalError::ConsumedTooMuch { stream: 1, held: 2 },
            "stream 1: no more than 2 bytes can be consumed",
        ),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
    }
}
