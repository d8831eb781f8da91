//! Windows, both ways.

use pyplugin_rust::http2::{
    Config, DATA, END_STREAM, ErrorCode, INITIAL_WINDOW, MAX_WINDOW, Side, WINDOW_UPDATE,
};

use crate::ends::{End, RESPONSE, Seen, frame, headers, number, request, settings};

fn update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

#[test]
fn no_more_is_sent_than_the_windows_allow() {
    let mut client = End::new(Side::Client);
    let id = client.open(false);
    client.drain();
    let window = INITIAL_WINDOW as usize;
    assert_eq!(client.connection.send_window(id), Ok(window));
    assert_eq!(client.connection.send_data(id, &vec![1; 100_000], true), Ok(window));
    let lengths: Vec<_> = client.frames().iter().map(|(h, _)| (h.length, h.flags)).collect();
    assert_eq!(lengths, [(16_384, 0), (16_384, 0), (16_384, 0), (16_383, 0)]);
    assert_eq!(client.connection.send_data(id, &[1], true), Ok(0));
    assert_eq!(client.frames(), []);
    // The stream's is open, and the connection's is not.
    assert_eq!(client.receive(&update(id, 10)), [Seen::Writable(id)]);
    assert_eq!(client.receive(&update(id, 10)), []);
    assert_eq!(client.connection.send_window(id), Ok(0));
    assert_eq!(client.receive(&update(0, 15)), [Seen::Writable(0)]);
    assert_eq!(client.connection.send_data(id, &[1; 12], true), Ok(12));
    assert_eq!(client.frames()[0].0.flags, END_STREAM);
}

#[test]
fn windows_that_the_peer_takes_back_are_less_than_nothing() {
    let mut client = End::new(Side::Client);
    let id = client.open(false);
    assert_eq!(client.connection.send_data(id, &[0; 1000], false), Ok(1000));
    client.receive(&settings(&[(4, 500)]));
    assert_eq!(client.connection.send_window(id), Ok(0));
    assert_eq!(client.receive(&update(id, 500)), []);
    assert_eq!(client.receive(&update(id, 1)), [Seen::Writable(id)]);
    assert_eq!(client.connection.send_window(id), Ok(1));
    client.receive(&settings(&[(4, 510)]));
    assert_eq!(client.connection.send_window(id), Ok(11));
    let other = client.open(false);
    assert_eq!(client.connection.send_window(other), Ok(510));
}

#[test]
fn the_end_of_a_stream_needs_no_window() {
    let mut client = End::new(Side::Client);
    client.receive(&settings(&[(4, 0)]));
    let id = client.open(false);
    client.drain();
    assert_eq!(client.connection.send_data(id, b"x", true), Ok(0));
    assert_eq!(client.connection.send_data(id, b"", true), Ok(0));
    assert_eq!(client.frames()[0].0.flags, END_STREAM);
}

#[test]
fn the_peer_is_told_at_half_the_window() {
    let config = Config { stream_window: 100_000, ..Config::default() };
    let mut server = End::with(Side::Server, Config { connection_window: 200_000, ..config });
    server.receive(&request(1));
    for _ in 0..8 {
        server.receive(&frame(DATA, 0, 1, &[0; 12_500]));
    }
    server.connection.acknowledge(1, 49_999).unwrap();
    assert_eq!(server.frames(), []);
    server.connection.acknowledge(1, 1).unwrap();
    let told = |end: &mut End| -> Vec<_> {
        let frames = end.frames();
        frames.iter().map(|(header, payload)| (header.stream, number(payload))).collect()
    };
    assert_eq!(told(&mut server), [(1, 50_000)]);
    server.connection.acknowledge(1, 50_000).unwrap();
    assert_eq!(told(&mut server), [(1, 50_000), (0, 100_000)]);
    // A stream that has ended needs no more; the connection does.
    for _ in 0..8 {
        server.receive(&frame(DATA, 0, 1, &[0; 12_500]));
    }
    server.receive(&frame(DATA, END_STREAM, 1, b""));
    server.connection.acknowledge(1, 100_000).unwrap();
    assert_eq!(told(&mut server), [(0, 100_000)]);
}

#[test]
fn data_that_nobody_reads_is_as_good_as_read() {
    let mut server = End::new(Side::Server);
    server.receive(&request(1));
    server.connection.reset(1, 0).unwrap();
    server.drain();
    let chunk = frame(DATA, 0, 1, &[0; 16_384]);
    for _ in 0..20 {
        assert_eq!(server.receive(&chunk), []);
    }
    assert!(server.frames().iter().all(|(header, _)| header.kind == WINDOW_UPDATE));
    // Also of a frame that a reset overtakes.
    server.receive(&request(3));
    let (first, second) = chunk.split_at(100);
    let first = [&frame(DATA, 0, 3, &[])[..0], first].concat();
    let mut head = first.clone();
    head[8] = 3;
    assert_eq!(server.receive(&head).len(), 1);
    server.connection.acknowledge(3, 91).unwrap();
    server.connection.reset(3, 0).unwrap();
    assert_eq!(server.receive(second), []);
    assert!(server.connection.acknowledge(3, 16_384).is_err());
}

#[test]
fn padding_is_as_good_as_read() {
    let mut client = End::new(Side::Client);
    client.open(true);
    client.drain();
    client.receive(&headers(0, 1, RESPONSE));
    let padded = frame(DATA, 8, 1, &[&[200][..], &[0; 200]].concat());
    let mut updates = 0;
    for _ in 0..1000 {
        assert_eq!(client.receive(&padded), []);
        updates += client.frames().len();
    }
    assert_eq!(updates, 2 * (1000 * 201 / (65_535 / 2 + 201)));
}

#[test]
fn windows_end_at_31_bits() {
    let mut client = End::new(Side::Client);
    let id = client.open(false);
    assert_eq!(client.receive(&update(0, MAX_WINDOW - INITIAL_WINDOW)), []);
    assert_eq!(client.receive(&update(id, MAX_WINDOW - INITIAL_WINDOW)), []);
    let events = client.receive(&update(id, 1));
    assert_eq!(events, [Seen::Reset(id, ErrorCode::FlowControlError as u32, false)]);
    assert_eq!(crate::ends::failed(&client.receive(&update(0, 1))), ErrorCode::FlowControlError);
}
