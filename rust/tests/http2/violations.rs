//! What the peer may not do: each ends the connection, with a GOAWAY, for good.

use pyplugin_rust::http2::{
    ACK, CONTINUATION, Config, ConnectionError, DATA, END_HEADERS, END_STREAM, ErrorCode, GOAWAY,
    HEADERS, LocalError, PADDED, PING, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    Side, WINDOW_UPDATE,
};

use crate::ends::{
    End, REQUEST, RESPONSE, Seen, block, failed, frame, headers, pairs, request, settings, told,
    whole_request,
};

// After a request on stream 1, which was not answered.
fn breaks(bytes: &[u8], expected: ErrorCode) {
    for size in [1, bytes.len()] {
        let mut server = End::new(Side::Server);
        server.receive(&request(1));
        let events: Vec<_> = bytes.chunks(size).flat_map(|chunk| server.receive(chunk)).collect();
        assert_eq!(failed(&events), expected, "{bytes:?}");
        let Some(Seen::Failed(error)) = events.last() else { unreachable!() };
        is_over(&mut server, *error);
        assert_eq!(told(&mut server, GOAWAY, 0), expected as u32);
        is_over(&mut server, *error);
        assert_eq!(server.frames(), []);
    }
}

fn is_over(end: &mut End, error: ConnectionError) {
    let over = Err(LocalError::Connection(error));
    let connection = &mut end.connection;
    assert_eq!(connection.failure(), Some(error));
    assert_eq!(connection.receive(&mut &request(3)[..]), Err(error));
    assert_eq!(connection.send_headers(1, pairs(RESPONSE), true), over);
    assert_eq!(connection.send_data(1, b"x", true), over.map(|()| 0));
    assert_eq!(connection.send_window(1), over.map(|()| 0));
    assert_eq!(connection.acknowledge(1, 0), over);
    assert_eq!(connection.reset(1, 0), over);
    assert_eq!(connection.ping([0; 8]), over);
    assert_eq!(connection.stream_count(), 0);
}

fn protocol(bytes: &[u8]) {
    breaks(bytes, ErrorCode::ProtocolError);
}

fn size(bytes: &[u8]) {
    breaks(bytes, ErrorCode::FrameSizeError);
}

#[test]
fn another_beginning() {
    let mut server = End::raw(Side::Server, Config::default());
    assert_eq!(failed(&server.receive(b"GET / HTTP/1.1\r\n")), ErrorCode::ProtocolError);
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[]), frame(99, 0, 0, b"")] {
        let mut client = End::raw(Side::Client, Config::default());
        assert_eq!(failed(&client.receive(&first)), ErrorCode::ProtocolError);
    }
}

#[test]
fn frames_of_the_wrong_length() {
    size(&frame(DATA, 0, 1, &vec![0; 16_385]));
    size(&frame(77, 0, 1, &vec![0; 16_385]));
    size(&frame(DATA, PADDED, 1, b""));
    size(&frame(HEADERS, PADDED, 3, b""));
    size(&frame(HEADERS, PRIORITIZED, 3, &[0; 4]));
    size(&frame(PRIORITY, 0, 3, &[0; 4]));
    size(&frame(RST_STREAM, 0, 1, &[0; 3]));
    size(&frame(SETTINGS, 0, 0, &[0; 5]));
    size(&frame(SETTINGS, ACK, 0, &[0; 6]));
    size(&frame(PING, 0, 0, &[0; 7]));
    size(&frame(GOAWAY, 0, 0, &[0; 7]));
    size(&frame(WINDOW_UPDATE, 0, 1, &[0; 5]));
    let mut server = End::new(Side::Server);
    server.receive(&request(1));
    let events = server.receive(&frame(PRIORITY, 0, 1, &[0; 6]));
    assert_eq!(events, [Seen::Reset(1, ErrorCode::FrameSizeError as u32, false)]);
}

#[test]
fn frames_on_the_wrong_stream() {
    protocol(&frame(DATA, 0, 0, b"x"));
    protocol(&headers(0, 0, REQUEST));
    protocol(&frame(PRIORITY, 0, 0, &[0; 5]));
    protocol(&frame(RST_STREAM, 0, 0, &[0; 4]));
    protocol(&frame(CONTINUATION, END_HEADERS, 0, b""));
    for (kind, length) in [(SETTINGS, 0), (PING, 8), (GOAWAY, 8)] {
        protocol(&frame(kind, 0, 1, &[0; 8][..length]));
    }
    for id in [2, 3] {
        protocol(&frame(DATA, 0, id, b"x"));
        protocol(&frame(RST_STREAM, 0, id, &[0; 4]));
        protocol(&frame(WINDOW_UPDATE, 0, id, &[0, 0, 0, 1]));
    }
    protocol(&request(2));
    protocol(&[request(5), request(3)].concat());
    protocol(&frame(PRIORITY, 0, 3, &[0, 0, 0, 3, 0]));
    let mut client = End::new(Side::Client);
    assert_eq!(failed(&client.receive(&headers(0, 1, RESPONSE))), ErrorCode::ProtocolError);
}

#[test]
fn padding_longer_than_its_frame() {
    protocol(&frame(DATA, PADDED, 1, &[2, 0]));
    protocol(&frame(DATA, PADDED, 1, &[1]));
    protocol(&frame(HEADERS, PADDED | END_HEADERS, 3, &[9, 0x82, 0]));
}

#[test]
fn blocks_that_are_broken_or_interrupted() {
    let compression = |bytes: &[u8]| breaks(bytes, ErrorCode::CompressionError);
    compression(&frame(HEADERS, END_HEADERS, 3, &[0x80]));
    // Also on a stream that nobody reads.
    compression(&[whole_request(3), frame(HEADERS, END_HEADERS, 3, &[0xff])].concat());
    let begin = frame(HEADERS, 0, 3, &block(REQUEST));
    protocol(&[begin.clone(), frame(DATA, 0, 1, b"")].concat());
    protocol(&[begin.clone(), frame(CONTINUATION, END_HEADERS, 1, b"")].concat());
    protocol(&[begin.clone(), frame(99, 0, 3, b"")].concat());
    protocol(&[request(3), frame(CONTINUATION, END_HEADERS, 3, b"")].concat());
    let mut server = End::new(Side::Server);
    let end = frame(CONTINUATION, END_HEADERS, 3, b"");
    assert_eq!(server.receive(&[begin, end].concat()), [Seen::Request(3)]);
}

#[test]
fn pushes() {
    protocol(&frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]));
    let mut client = End::new(Side::Client);
    client.open(true);
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]);
    assert_eq!(failed(&client.receive(&promise)), ErrorCode::ProtocolError);
}

#[test]
fn values_of_settings() {
    protocol(&settings(&[(2, 2)]));
    protocol(&settings(&[(5, 16_383)]));
    protocol(&settings(&[(5, 1 << 24)]));
    breaks(&settings(&[(4, 1 << 31)]), ErrorCode::FlowControlError);
    let mut client = End::new(Side::Client);
    assert_eq!(client.receive(&settings(&[(2, 0)])), [Seen::Settings]);
    assert_eq!(failed(&client.receive(&settings(&[(2, 1)]))), ErrorCode::ProtocolError);
    let grown = frame(WINDOW_UPDATE, 0, 1, &0x7fff_0000_u32.to_be_bytes());
    let bytes = [grown, settings(&[(4, 0x1_0000)])].concat();
    breaks(&bytes, ErrorCode::FlowControlError);
}

#[test]
fn windows() {
    protocol(&frame(WINDOW_UPDATE, 0, 0, &[0; 4]));
    let most = 0x7fff_ffff_u32.to_be_bytes();
    breaks(&frame(WINDOW_UPDATE, 0, 0, &most), ErrorCode::FlowControlError);
    let full = frame(DATA, 0, 1, &[0; 16_384]).repeat(4);
    breaks(&full, ErrorCode::FlowControlError);
    let config = Config { connection_window: 1 << 20, ..Config::default() };
    let mut server = End::with(Side::Server, config);
    server.receive(&request(1));
    let events = server.receive(&full);
    let code = ErrorCode::FlowControlError as u32;
    assert_eq!(events.last(), Some(&Seen::Reset(1, code, false)));
    server.receive(&request(3));
    let events = server.receive(&frame(WINDOW_UPDATE, 0, 3, &[0; 4]));
    assert_eq!(events, [Seen::Reset(3, ErrorCode::ProtocolError as u32, false)]);
}

#[test]
fn frames_behind_the_end_of_a_stream() {
    for late in [frame(DATA, 0, 1, b"x"), request(1)] {
        // Half of it is there.
        let mut server = End::new(Side::Server);
        server.receive(&whole_request(1));
        let events = server.receive(&late);
        assert_eq!(events, [Seen::Reset(1, ErrorCode::StreamClosed as u32, false)]);
        // It has ended on both sides.
        let mut server = End::new(Side::Server);
        server.receive(&whole_request(1));
        server.headers(1, RESPONSE, true);
        assert_eq!(failed(&server.receive(&late)), ErrorCode::StreamClosed);
        // The peer has reset it.
        let mut server = End::new(Side::Server);
        server.receive(&[request(1), frame(RST_STREAM, 0, 1, &[0; 4])].concat());
        assert_eq!(server.receive(&late), []);
        assert_eq!(told(&mut server, RST_STREAM, 1), ErrorCode::StreamClosed as u32);
    }
}

#[test]
fn what_came_before_is_told_before() {
    let mut server = End::new(Side::Server);
    let bytes = [request(1), frame(DATA, END_STREAM, 1, b"data"), frame(DATA, 0, 0, b"")].concat();
    let events = server.receive(&bytes);
    assert_eq!(events[..3], [Seen::Request(1), Seen::Data(1, b"data".into()), Seen::Ended(1)]);
    let Seen::Failed(error) = events[3] else { panic!("{events:?}") };
    assert_eq!(error.to_string(), "data of no stream");
    let error = ConnectionError { stream: 3, ..error };
    assert_eq!(error.to_string(), "data of no stream, stream 3");
}
