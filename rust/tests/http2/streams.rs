//! What becomes of a stream that both ends treat well.

use pyplugin_rust::http2::{
    ACK, CONTINUATION, Config, DATA, END_HEADERS, END_STREAM, ErrorCode, GOAWAY, HEADERS, Header,
    LocalError, PADDED, PING, PREFACE, PRIORITIZED, PRIORITY, RST_STREAM, SETTINGS, Side,
    WINDOW_UPDATE,
};

use crate::ends::{
    End, RESPONSE, Seen, TRAILERS, frame, frames, headers, number, pairs, request, settings, told,
    whole_request,
};

pub(crate) fn carry(from: &mut End, to: &mut End) -> Vec<Seen> {
    let bytes = from.drain();
    to.receive(&bytes)
}

pub(crate) fn pair() -> (End, End) {
    let config = Config::default();
    let mut client = End::raw(Side::Client, config.clone());
    let mut server = End::raw(Side::Server, config);
    assert_eq!(carry(&mut client, &mut server), [Seen::Settings]);
    assert_eq!(carry(&mut server, &mut client), [Seen::Settings]);
    assert_eq!(carry(&mut client, &mut server), []);
    (client, server)
}

#[test]
fn a_call_from_its_beginning_to_its_end() {
    let (mut client, mut server) = pair();
    let id = client.open(false);
    assert_eq!(client.connection.send_data(id, b"question", true), Ok(8));
    assert_eq!(
        carry(&mut client, &mut server),
        [Seen::Request(1), Seen::Data(1, b"question".to_vec()), Seen::Ended(1)]
    );
    let list: Vec<_> = server.lists[0].iter().collect();
    assert_eq!(list[3], (&b"te"[..], &b"trailers"[..]));
    server.connection.acknowledge(1, 8).unwrap();
    server.headers(1, RESPONSE, false);
    assert_eq!(server.connection.send_data(1, b"answer", false), Ok(6));
    server.headers(1, TRAILERS, true);
    assert_eq!(
        carry(&mut server, &mut client),
        [Seen::Response(1), Seen::Data(1, b"answer".to_vec()), Seen::Trailers(1), Seen::Ended(1)]
    );
    assert_eq!((client.connection.stream_count(), server.connection.stream_count()), (0, 0));
    assert_eq!(client.open(true), 3);
}

#[test]
fn both_ends_begin_with_settings_and_a_window() {
    let config = Config { connection_window: 1 << 20, ..Config::default() };
    let mut client = End::raw(Side::Client, config.clone());
    let bytes = client.drain();
    assert!(bytes.starts_with(PREFACE));
    let [(settings, entries), (update, more)] = &frames(&bytes)[..] else { panic!() };
    assert_eq!((settings.kind, settings.flags, settings.stream), (SETTINGS, 0, 0));
    // ENABLE_PUSH is 0.
    assert!(entries.starts_with(&[0, 2, 0, 0, 0, 0]));
    assert_eq!((update.kind, update.stream, number(more)), (WINDOW_UPDATE, 0, (1 << 20) - 65_535));
    let mut server = End::raw(Side::Server, config);
    let [(settings, entries), (update, _)] = &server.frames()[..] else { panic!() };
    assert_eq!((settings.kind, update.kind), (SETTINGS, WINDOW_UPDATE));
    assert_eq!(entries.chunks(6).map(|entry| entry[1]).collect::<Vec<_>>(), [3, 4, 6]);
}

#[test]
fn settings_and_pings_are_answered() {
    let mut client = End::new(Side::Client);
    let bytes = [settings(&[]), frame(PING, 0, 0, b"12345678"), settings(&[(99, 1)])].concat();
    assert_eq!(client.receive(&bytes), [Seen::Settings, Seen::Settings]);
    let ack = |kind, length| Header { length, kind, flags: ACK, stream: 0 };
    assert_eq!(
        client.frames(),
        [
            (ack(SETTINGS, 0), Vec::new()),
            (ack(PING, 8), b"12345678".to_vec()),
            (ack(SETTINGS, 0), Vec::new())
        ]
    );
    client.connection.ping(*b"87654321").unwrap();
    let mut server = End::new(Side::Server);
    assert_eq!(carry(&mut client, &mut server), []);
    assert_eq!(carry(&mut server, &mut client), [Seen::Pong(*b"87654321")]);
}

#[test]
fn a_reset_from_either_side() {
    let (mut client, mut server) = pair();
    client.open(false);
    client.open(false);
    carry(&mut client, &mut server);
    server.connection.reset(1, ErrorCode::Cancel as u32).unwrap();
    assert_eq!(carry(&mut server, &mut client), [Seen::Reset(1, 8, true)]);
    client.connection.reset(3, 77).unwrap();
    assert_eq!(carry(&mut client, &mut server), [Seen::Reset(3, 77, true)]);
    assert_eq!((client.connection.stream_count(), server.connection.stream_count()), (0, 0));
    let gone = Err(LocalError::NoStream { stream: 1 });
    assert_eq!(client.connection.send_data(1, b"x", true), gone.map(|()| 0));
    assert_eq!(client.connection.send_headers(1, pairs(TRAILERS), true), gone);
    assert_eq!(server.connection.reset(1, 0), gone);
    assert!(!client.connection.is_open(1) && !client.connection.is_open(99));
}

#[test]
fn what_was_on_its_way_to_a_stream_that_was_reset_is_ignored() {
    for side in [Side::Server, Side::Client] {
        let mut end = End::new(side);
        let mut late = vec![frame(DATA, 0, 1, b"late"), frame(DATA, END_STREAM, 1, b"later")];
        if side == Side::Server {
            end.receive(&request(1));
            late.insert(0, headers(END_STREAM, 1, TRAILERS));
        } else {
            end.open(false);
            late.insert(0, headers(0, 1, RESPONSE));
        }
        end.connection.reset(1, 8).unwrap();
        end.drain();
        late.extend([frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), frame(RST_STREAM, 0, 1, &[0; 4])]);
        late.push(frame(PRIORITY, 0, 1, &[0; 5]));
        assert_eq!(end.receive(&late.concat()), []);
        assert_eq!(end.frames(), []);
    }
}

#[test]
fn misuse_changes_nothing() {
    let mut server = End::new(Side::Server);
    server.receive(&request(1));
    let connection = &mut server.connection;
    assert_eq!(connection.send_data(1, b"x", false), Err(LocalError::Order { stream: 1 }));
    assert_eq!(connection.next_stream_id(), Err(LocalError::IdsExhausted));
    connection.send_headers(1, pairs(RESPONSE), false).unwrap();
    let order = Err(LocalError::Order { stream: 1 });
    assert_eq!(connection.send_headers(1, pairs(TRAILERS), false), order);
    assert_eq!(connection.send_data(1, b"", true), Ok(0));
    let finished = Err(LocalError::Finished { stream: 1 });
    assert_eq!(connection.send_data(1, b"", true), finished.map(|()| 0));
    assert_eq!(connection.send_headers(1, pairs(TRAILERS), true), finished);
    let too_much = Err(LocalError::AcknowledgedTooMuch { stream: 1 });
    assert_eq!(connection.acknowledge(1, 1), too_much);
    assert_eq!(connection.acknowledge(1, usize::MAX), too_much);
    assert_eq!(server.frames().len(), 2);
    let texts = [
        LocalError::GoingAway,
        LocalError::TooManyStreams { limit: 3 },
        LocalError::IdsExhausted,
        LocalError::NoStream { stream: 1 },
        LocalError::Finished { stream: 1 },
        LocalError::Order { stream: 1 },
        LocalError::AcknowledgedTooMuch { stream: 1 },
    ]
    .map(|error| error.to_string());
    assert_eq!(
        texts,
        [
            "the peer takes no new streams",
            "the peer takes no more than 3 streams at once",
            "every stream id was used",
            "stream 1 is gone",
            "stream 1 is finished",
            "stream 1: headers come first, and trailers end it",
            "stream 1: more was acknowledged than had come",
        ]
    );
}

#[test]
fn a_peer_that_goes_away_ends_what_it_has() {
    let mut client = End::new(Side::Client);
    client.open(true);
    client.open(true);
    client.drain();
    let goaway = frame(GOAWAY, 0, 0, &[&1_u32.to_be_bytes()[..], &[0, 0, 0, 2], b"why"].concat());
    assert_eq!(client.receive(&goaway), [Seen::GoAway(1, 2)]);
    assert_eq!(client.connection.send_headers(5, [], true), Err(LocalError::GoingAway));
    let answer = headers(END_STREAM, 1, RESPONSE);
    assert_eq!(client.receive(&answer), [Seen::Response(1), Seen::Ended(1)]);
    assert_eq!(client.frames(), []);
}

#[test]
fn no_more_streams_than_the_peer_takes() {
    let mut client = End::new(Side::Client);
    client.receive(&settings(&[(3, 2)]));
    client.open(true);
    client.open(true);
    let too_many = Err(LocalError::TooManyStreams { limit: 2 });
    assert_eq!(client.connection.send_headers(5, pairs(RESPONSE), true), too_many);
    client.receive(&headers(END_STREAM, 1, RESPONSE));
    assert_eq!(client.open(true), 5);
}

#[test]
fn streams_past_the_limit_are_refused() {
    let mut server = End::with(Side::Server, Config { max_streams: 1, ..Config::default() });
    assert_eq!(server.receive(&request(1)), [Seen::Request(1)]);
    assert_eq!(server.receive(&[whole_request(3), request(5)].concat()), []);
    assert_eq!(told(&mut server, RST_STREAM, 5), ErrorCode::RefusedStream as u32);
    server.connection.reset(1, 0).unwrap();
    assert_eq!(server.receive(&request(7)), [Seen::Request(7)]);
}

#[test]
fn what_comes_after_both_reset_a_stream_was_not_on_its_way() {
    let mut server = End::new(Side::Server);
    server.receive(&request(1));
    server.connection.reset(1, 0).unwrap();
    server.frames();
    assert_eq!(server.receive(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())), []);
    assert_eq!(server.frames(), []);
    server.receive(&request(1));
    assert_eq!(told(&mut server, RST_STREAM, 1), ErrorCode::StreamClosed as u32);
}

#[test]
fn informational_answers_are_not_told() {
    let mut client = End::new(Side::Client);
    client.open(true);
    let answers = [headers(0, 1, &[(":status", "103")]), headers(0, 1, RESPONSE)].concat();
    assert_eq!(client.receive(&answers), [Seen::Response(1)]);
}

#[test]
fn padding_and_priorities_say_nothing() {
    let mut server = End::new(Side::Server);
    let block = crate::ends::block(crate::ends::REQUEST);
    let padded = [&[3, 0, 0, 0, 9, 1][..], &block, &[0; 3]].concat();
    let flags = PADDED | PRIORITIZED | END_HEADERS;
    let bytes = [
        frame(HEADERS, flags, 1, &padded),
        frame(DATA, PADDED, 1, &[&[2][..], b"data", &[0; 2]].concat()),
        frame(DATA, PADDED, 1, &[0]),
        frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 9]),
        frame(99, 0xff, 3, b"of no kind"),
        frame(DATA, PADDED | END_STREAM, 1, &[&[4][..], b"more", &[0; 4]].concat()),
    ]
    .concat();
    let expected = [
        Seen::Request(1),
        Seen::Data(1, b"data".to_vec()),
        Seen::Data(1, b"more".to_vec()),
        Seen::Ended(1),
    ];
    assert_eq!(server.receive(&bytes), expected);
    server.connection.acknowledge(1, 8).unwrap();
    assert!(server.connection.acknowledge(1, 1).is_err());
}

#[test]
fn long_lists_are_in_several_frames() {
    let (mut client, mut server) = pair();
    let long = "x".repeat(40_000);
    let fields = [crate::ends::REQUEST, &[("a", &long), ("b", "c")]].concat();
    client.headers(1, &fields, true);
    let bytes = client.drain();
    let kinds: Vec<_> = frames(&bytes).iter().map(|(h, _)| (h.kind, h.flags, h.length)).collect();
    assert_eq!(kinds[0], (HEADERS, END_STREAM, 16_384));
    assert_eq!(kinds[1], (CONTINUATION, 0, 16_384));
    assert!(kinds[2].0 == CONTINUATION && kinds[2].1 == END_HEADERS && kinds.len() == 3);
    assert_eq!(server.receive(&bytes), [Seen::Request(1), Seen::Ended(1)]);
    assert_eq!(server.lists[0].iter().nth(4), Some((&b"a"[..], long.as_bytes())));
}

#[test]
fn settings_of_the_peer_are_kept() {
    let mut client = End::new(Side::Client);
    client.receive(&settings(&[(1, 0), (5, 20_000), (6, 1)]));
    client.headers(1, &[("a", "b")], false);
    assert_eq!(client.connection.send_data(1, &vec![0; 30_000], true), Ok(30_000));
    let frames = client.frames();
    assert_eq!(frames[1].1, [0x20, 0x40, 1, b'a', 1, b'b']);
    let lengths: Vec<_> = frames[2..].iter().map(|(header, _)| header.length).collect();
    assert_eq!(lengths, [20_000, 10_000]);
}
