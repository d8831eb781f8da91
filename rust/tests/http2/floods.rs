//! A peer that sends and sends, and reads nothing.

use pyplugin_rust::http2::{
    CONTINUATION, Config, DATA, END_HEADERS, ErrorCode, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, Side, WINDOW_UPDATE,
};

use crate::ends::{
    End, REQUEST, RESPONSE, Seen, block, failed, frame, headers, request, settings, told,
    whole_request,
};

const MANY: usize = 100_000;

fn server() -> End {
    End::with(Side::Server, Config { max_streams: 1 << 20, ..Config::default() })
}

// What is received for each of these numbers until the connection fails; how many that were.
fn flood(end: &mut End, bytes: impl Fn(u32) -> Vec<u8>) -> usize {
    for index in 0..MANY {
        let events = end.receive(&bytes(index as u32));
        if let Some(Seen::Failed(error)) = events.last() {
            assert_eq!(error.code, ErrorCode::EnhanceYourCalm);
            assert_eq!(told(end, GOAWAY, 0), ErrorCode::EnhanceYourCalm as u32);
            return index;
        }
    }
    panic!("nothing happened");
}

#[test]
fn questions_without_reading_answers() {
    assert_eq!(flood(&mut server(), |_| frame(PING, 0, 0, &[0; 8])), 1024);
    assert_eq!(flood(&mut server(), |_| settings(&[])), 1024);
    let mut full = End::with(Side::Server, Config { max_streams: 0, ..Config::default() });
    assert_eq!(flood(&mut full, |index| request(index * 2 + 1)), 1024);
}

#[test]
fn questions_whose_answers_are_read() {
    let mut server = server();
    for _ in 0..10_000 {
        assert_eq!(server.receive(&frame(PING, 0, 0, &[0; 8])), []);
        assert_eq!(server.frames().len(), 1);
    }
}

#[test]
fn streams_that_are_opened_and_reset_at_once() {
    let mut server = server();
    let pairs = |range: std::ops::Range<u32>| -> Vec<u8> {
        range
            .flat_map(|index| {
                [request(index * 2 + 1), frame(RST_STREAM, 0, index * 2 + 1, &[0; 4])]
            })
            .flatten()
            .collect()
    };
    for round in 0..10 {
        let events = server.receive(&pairs(round * 1000..round * 1000 + 1000));
        assert_eq!(events.len(), 2000);
    }
    assert_eq!(failed(&server.receive(&pairs(10_000..12_000))), ErrorCode::EnhanceYourCalm);
}

#[test]
fn streams_that_were_opened_before_may_all_be_reset() {
    let mut server = server();
    for index in 0..5000 {
        assert_eq!(server.receive(&request(index * 2 + 1)).len(), 1);
    }
    let resets: Vec<u8> =
        (0..5000).flat_map(|index| frame(RST_STREAM, 0, index * 2 + 1, &[0; 4])).collect();
    assert_eq!(server.receive(&resets).len(), 5000);
    assert_eq!(server.connection.stream_count(), 0);
}

#[test]
fn streams_that_we_are_made_to_reset() {
    let broken = |index: u32| {
        let id = index * 2 + 1;
        [whole_request(id), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat()
    };
    assert_eq!(flood(&mut server(), broken), 1024);
    assert_eq!(flood(&mut server(), |index| headers(0, index * 2 + 1, &[])), 1024);
}

#[test]
fn a_header_block_without_end() {
    let mut server = server();
    server.receive(&frame(HEADERS, 0, 1, &block(REQUEST)));
    assert_eq!(flood(&mut server, |_| frame(CONTINUATION, 0, 1, b"")), 1023);
    let mut server = End::new(Side::Server);
    server.receive(&frame(HEADERS, 0, 1, &block(REQUEST)));
    assert_eq!(flood(&mut server, |_| frame(CONTINUATION, 0, 1, &[0x82; 16_384])), 3);
}

#[test]
fn a_list_that_a_few_bytes_make_large() {
    let mut server = End::new(Side::Server);
    let long = "x".repeat(900);
    server.receive(&headers(0, 1, &[REQUEST, &[("long", &long)]].concat()));
    let bomb = [block(REQUEST), vec![0xbe; 10_000]].concat();
    assert_eq!(server.receive(&frame(HEADERS, END_HEADERS, 3, &bomb)), []);
    assert_eq!(told(&mut server, RST_STREAM, 3), ErrorCode::EnhanceYourCalm as u32);
}

#[test]
fn frames_without_content_are_not_told() {
    let mut server = server();
    server.receive(&request(1));
    let empty = [
        frame(DATA, 0, 1, b""),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(77, 0, 1, b""),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
    ];
    assert_eq!(server.receive(&empty.concat().repeat(10_000)), []);
    assert_eq!(server.frames(), []);
    let mut client = End::new(Side::Client);
    client.open(true);
    client.drain();
    let information = headers(0, 1, &[(":status", "100")]);
    assert_eq!(client.receive(&information.repeat(10_000)), []);
    assert_eq!(client.receive(&headers(0, 1, RESPONSE)), [Seen::Response(1)]);
}

#[test]
fn a_window_of_a_byte() {
    let mut client = End::new(Side::Client);
    client.receive(&settings(&[(4, 1)]));
    let id = client.open(false);
    client.drain();
    for index in 0..1000_usize {
        assert_eq!(client.connection.send_data(id, &[0; 5000], false), Ok(1));
        assert_eq!(client.connection.send_data(id, &[0; 5000], false), Ok(0));
        assert_eq!(client.drain().len(), 10, "{index}");
        let more = frame(WINDOW_UPDATE, 0, id, &[0, 0, 0, 1]);
        assert_eq!(client.receive(&more), [Seen::Writable(id)]);
    }
}
