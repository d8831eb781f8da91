//! What a header list must look like; one that does not ends its stream only.

use pyplugin_rust::http2::{Config, DATA, END_STREAM, ErrorCode, PRIORITIZED, RST_STREAM, Side};

use crate::ends::{
    End, REQUEST, RESPONSE, Seen, TRAILERS, block, frame, headers, request, told, whole_request,
};

const PROTOCOL: u32 = ErrorCode::ProtocolError as u32;

fn is_refused(fields: &[(&str, &str)]) {
    let mut server = End::new(Side::Server);
    assert_eq!(server.receive(&headers(0, 1, fields)), [], "{fields:?}");
    assert_eq!(told(&mut server, RST_STREAM, 1), PROTOCOL, "{fields:?}");
    assert_eq!(server.connection.stream_count(), 0);
    assert_eq!(server.receive(&request(3)), [Seen::Request(3)]);
}

#[test]
fn requests_that_break_a_rule() {
    let with = |field| [REQUEST, &[field]].concat();
    for field in [
        ("Upper", "x"),
        ("", "x"),
        ("white space", "x"),
        ("col:on", "x"),
        ("line", "a\nb"),
        ("return", "a\rb"),
        ("zero", "a\0b"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h3"),
        ("te", "gzip"),
        (":path", "/behind"),
        (":authority", "behind"),
        ("content-length", "-1"),
        ("content-length", "+1"),
        ("content-length", "one"),
        ("content-length", ""),
    ] {
        is_refused(&with(field));
    }
    let pseudo = &REQUEST[..3];
    for field in [(":status", "200"), (":method", "GET"), (":new", "x"), (":protocol", "x")] {
        is_refused(&[pseudo, &[field]].concat());
    }
    for index in 0..3 {
        let mut fields = pseudo.to_vec();
        fields.remove(index);
        is_refused(&fields);
    }
    is_refused(&[(":method", "GET"), (":scheme", "http"), (":path", "")]);
    is_refused(&[(":method", "CONNECT"), (":scheme", "http"), (":path", "/")]);
    is_refused(&[("content-length", "1"), ("content-length", "2")]);
    is_refused(&[]);
}

#[test]
fn requests_that_break_none() {
    let all = [
        REQUEST,
        &[
            ("content-length", "4"),
            ("content-length", "4"),
            ("value", " \u{e9} "),
            ("x!#'*+.^`|~1", ""),
        ],
    ]
    .concat();
    let connect = [(":method", "CONNECT"), (":authority", "host:1")];
    for fields in [REQUEST, &all, &connect] {
        let mut server = End::new(Side::Server);
        assert_eq!(server.receive(&headers(0, 1, fields)), [Seen::Request(1)]);
        let expected: Vec<_> = crate::ends::pairs(fields).collect();
        assert_eq!(server.lists[0].iter().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn answers_that_break_a_rule() {
    let long = |status| vec![(":status", status)];
    for fields in [
        vec![],
        vec![("a", "b")],
        long("20"),
        long("2000"),
        long("abc"),
        long("099"),
        vec![(":status", "200"), (":status", "200")],
        vec![(":status", "200"), (":path", "/")],
        vec![("a", "b"), (":status", "200")],
    ] {
        let mut client = End::new(Side::Client);
        client.open(true);
        client.drain();
        let events = client.receive(&headers(0, 1, &fields));
        assert_eq!(events, [Seen::Reset(1, PROTOCOL, false)], "{fields:?}");
        assert_eq!(told(&mut client, RST_STREAM, 1), PROTOCOL);
    }
    let mut client = End::new(Side::Client);
    client.open(true);
    let events = client.receive(&headers(END_STREAM, 1, &[(":status", "100")]));
    assert_eq!(events, [Seen::Reset(1, PROTOCOL, false)]);
}

#[test]
fn trailers_end_their_stream() {
    for (flags, fields) in
        [(0, TRAILERS), (END_STREAM, RESPONSE), (END_STREAM, &[(":path", "/")]), (0, &[])]
    {
        let mut client = End::new(Side::Client);
        client.open(true);
        client.receive(&headers(0, 1, RESPONSE));
        let events = client.receive(&headers(flags, 1, fields));
        assert_eq!(events, [Seen::Reset(1, PROTOCOL, false)]);
    }
    let mut server = End::new(Side::Server);
    server.receive(&request(1));
    let events = server.receive(&headers(END_STREAM, 1, TRAILERS));
    assert_eq!(events, [Seen::Trailers(1), Seen::Ended(1)]);
}

#[test]
fn data_before_an_answer() {
    let mut client = End::new(Side::Client);
    client.open(true);
    let events = client.receive(&frame(DATA, 0, 1, b"data"));
    assert_eq!(events, [Seen::Reset(1, PROTOCOL, false)]);
}

#[test]
fn as_much_data_as_the_content_length() {
    let begin = headers(0, 1, &[REQUEST, &[("content-length", "5")]].concat());
    let reset = Seen::Reset(1, PROTOCOL, false);
    let data = |text: &str| Seen::Data(1, text.into());
    for (frames, expected) in [
        (vec![frame(DATA, 0, 1, b"123"), frame(DATA, END_STREAM, 1, b"45")], None),
        (vec![frame(DATA, 8 | END_STREAM, 1, b"\x0212345##")], None),
        (vec![frame(DATA, 0, 1, b"12345"), headers(END_STREAM, 1, TRAILERS)], None),
        (vec![frame(DATA, 0, 1, b"123456")], Some(reset.clone())),
        (vec![frame(DATA, 8, 1, b"\x01123456#")], Some(reset.clone())),
        (vec![frame(DATA, 0, 1, b"1234"), frame(DATA, END_STREAM, 1, b"")], Some(reset.clone())),
        (vec![frame(DATA, 0, 1, b"1234"), headers(END_STREAM, 1, TRAILERS)], Some(reset)),
    ] {
        let mut server = End::new(Side::Server);
        let events = server.receive(&[begin.clone(), frames.concat()].concat());
        let last = expected.unwrap_or(Seen::Ended(1));
        assert_eq!(events.last(), Some(&last), "{events:?}");
        assert!(!events.contains(&data("123456")));
        // Nothing is lost of what comes behind.
        assert_eq!(server.receive(&request(3)), [Seen::Request(3)]);
    }
    let mut server = End::new(Side::Server);
    let events = server.receive(&[begin, frame(DATA, END_STREAM, 1, b"1234")].concat());
    assert_eq!(events, [Seen::Request(1), data("1234"), Seen::Reset(1, PROTOCOL, false)]);
    server.connection.acknowledge(1, 4).unwrap();
    let mut server = End::new(Side::Server);
    let fields = [REQUEST, &[("content-length", "5")]].concat();
    let events = server.receive(&headers(END_STREAM, 1, &fields));
    assert_eq!(events, []);
    assert_eq!(told(&mut server, RST_STREAM, 1), PROTOCOL);
    let fields = [REQUEST, &[("content-length", "0")]].concat();
    let events = server.receive(&headers(END_STREAM, 3, &fields));
    assert_eq!(events, [Seen::Request(3), Seen::Ended(3)]);
}

#[test]
fn a_stream_that_depends_on_itself() {
    let mut server = End::new(Side::Server);
    let payload = [&[0, 0, 0, 1, 0][..], &block(REQUEST)].concat();
    assert_eq!(server.receive(&frame(1, PRIORITIZED | 4, 1, &payload)), []);
    assert_eq!(told(&mut server, RST_STREAM, 1), PROTOCOL);
    server.receive(&request(3));
    let events = server.receive(&frame(2, 0, 3, &[0, 0, 0, 3, 0]));
    assert_eq!(events, [Seen::Reset(3, PROTOCOL, false)]);
}

#[test]
fn a_list_that_is_too_long_is_its_streams_fault() {
    let mut server = End::with(Side::Server, Config { max_header_list: 2000, ..Config::default() });
    let long = "x".repeat(2000);
    let fields = [REQUEST, &[("long", &long)]].concat();
    assert_eq!(server.receive(&headers(0, 1, &fields)), []);
    assert_eq!(told(&mut server, RST_STREAM, 1), ErrorCode::EnhanceYourCalm as u32);
    assert_eq!(server.receive(&whole_request(3)), [Seen::Request(3), Seen::Ended(3)]);
}
