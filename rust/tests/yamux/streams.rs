//! Streams between two sessions.

use pyplugin_rust::yamux::{
    Config, FRAME_BYTES, HEADER_BYTES, INITIAL_WINDOW, Kind, LocalError, SYN, Side,
};

use crate::ends::{End, KIB, Seen, carry, frames, open, pair, payload, update};

#[test]
fn a_stream_goes_both_ways_and_is_gone_when_both_have_finished() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    client.session.send(id, b"question".to_vec()).unwrap();
    client.session.finish(id).unwrap();
    let events = [Seen::Data(id, b"question".to_vec()), Seen::Finished(id)];
    assert_eq!(carry(&mut client, &mut server), events);
    server.session.send(id, b"answer".to_vec()).unwrap();
    server.session.finish(id).unwrap();
    let events = [Seen::Data(id, b"answer".to_vec()), Seen::Finished(id)];
    assert_eq!(carry(&mut server, &mut client), events);
    assert_eq!((client.session.stream_count(), server.session.stream_count()), (0, 0));
    assert_eq!(client.session.send(id, vec![1]), Err(LocalError::NoStream { stream: id }));
}

#[test]
fn what_was_read_can_be_consumed_when_the_stream_is_gone() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    server.session.finish(id).unwrap();
    carry(&mut server, &mut client);
    client.session.send(id, vec![1; 10]).unwrap();
    client.session.finish(id).unwrap();
    carry(&mut client, &mut server);
    assert_eq!(server.session.stream_count(), 0);
    server.session.consume(id, 10).unwrap();
}

#[test]
fn nothing_is_sent_behind_a_finish() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    client.session.finish(id).unwrap();
    let error = Err(LocalError::Finished { stream: id });
    assert_eq!(client.session.send(id, vec![1]), error);
    carry(&mut client, &mut server);
    assert_eq!(client.session.send(id, vec![1]), error);
}

#[test]
fn no_more_is_consumed_than_came() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    client.session.send(id, vec![1; 10]).unwrap();
    carry(&mut client, &mut server);
    let error = |held| Err(LocalError::ConsumedTooMuch { stream: id, held });
    assert_eq!(server.session.consume(id, 11), error(10));
    assert_eq!(server.session.consume(id, usize::MAX), error(10));
    server.session.consume(id, 10).unwrap();
    assert_eq!(server.session.consume(id, 1), error(0));
}

#[test]
fn a_sender_waits_for_its_reader() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    let window = INITIAL_WINDOW as usize;
    let text: Vec<u8> = (0..=250).cycle().take(window * 2).collect();
    assert_eq!(client.session.send(id, text.clone()), Ok(window * 2));
    client.session.finish(id).unwrap();
    let mut got = payload(&carry(&mut client, &mut server));
    assert_eq!((got.len(), client.session.queued(id)), (window, window));
    server.session.consume(id, window).unwrap();
    carry(&mut server, &mut client);
    let events = carry(&mut client, &mut server);
    assert_eq!(events.last(), Some(&Seen::Finished(id)));
    got.extend(payload(&events));
    assert_eq!(got, text);
}

#[test]
fn a_writer_is_told_once_when_it_may_go_on() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    client.session.send(id, vec![0; 64 * KIB]).unwrap();
    carry(&mut client, &mut server);
    assert_eq!(client.events(), []);
    client.session.send(id, vec![0; 96 * KIB]).unwrap();
    client.session.send(id, vec![0; 96 * KIB]).unwrap();
    client.transmit(70 * KIB);
    assert_eq!(client.events(), []);
    client.transmit(70 * KIB);
    assert_eq!(client.session.queued(id), 192 * KIB - 140 * KIB + 3 * HEADER_BYTES + 12);
    assert_eq!(client.events(), [Seen::Writable(id)]);
    client.drain();
    assert_eq!(client.events(), []);
}

#[test]
fn small_chunks_share_a_frame_and_large_ones_are_cut() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    for _ in 0..10 {
        client.session.send(id, b"abc".to_vec()).unwrap();
        client.session.send(id, Vec::new()).unwrap();
    }
    let frames = client.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].1, b"abc".repeat(10));
    client.session.send(id, vec![7; 100 * KIB]).unwrap();
    let lengths: Vec<_> = client.headers().iter().map(|header| header.length).collect();
    assert_eq!(lengths, [FRAME_BYTES, 36 * 1024]);
}

#[test]
fn streams_take_turns() {
    let (mut client, mut server) = pair();
    let ids = [(); 3].map(|()| open(&mut client, &mut server));
    for id in ids {
        client.session.send(id, vec![0; 200 * KIB]).unwrap();
    }
    let turns: Vec<_> = client.headers().iter().map(|header| header.stream).collect();
    assert_eq!(turns[..9], ids.repeat(3));
}

#[test]
fn no_more_is_sent_at_once_than_asked_for() {
    let (mut client, mut server) = pair();
    let ids = [(); 3].map(|()| open(&mut client, &mut server));
    for id in ids {
        client.session.send(id, vec![0; 10 * KIB]).unwrap();
        client.session.finish(id).unwrap();
    }
    let mut all = Vec::new();
    for most in [0, 1, 64, 13, 4 * KIB, 20 * KIB, 100, 1 << 20] {
        let out = client.transmit(most);
        assert!(out.len() <= most.max(64) && !out.is_empty(), "{} of {most}", out.len());
        all.extend(out);
    }
    assert!(client.drain().is_empty());
    for id in ids {
        let of: Vec<_> = frames(&all).into_iter().filter(|(it, _)| it.stream == id).collect();
        assert_eq!(of.iter().map(|(_, payload)| payload.len()).sum::<usize>(), 10 * KIB);
        assert_eq!(of.last().unwrap().0.kind, Kind::WindowUpdate);
    }
}

#[test]
fn a_reset_drops_what_is_queued() {
    let (mut client, mut server) = pair();
    let id = open(&mut client, &mut server);
    client.session.send(id, vec![0; 10 * KIB]).unwrap();
    client.session.reset(id).unwrap();
    assert_eq!(carry(&mut client, &mut server), [Seen::Reset(id)]);
    assert_eq!((client.session.stream_count(), server.session.stream_count()), (0, 0));
}

#[test]
fn a_stream_that_was_never_told_of_is_dropped_in_silence() {
    let mut client = End::new(Side::Client);
    let id = client.open();
    client.session.send(id, vec![0; 10]).unwrap();
    client.session.reset(id).unwrap();
    assert_eq!(client.headers(), []);
    assert_eq!(client.open(), 3);
}

#[test]
fn each_side_has_ids_of_its_own() {
    let (mut client, mut server) = pair();
    assert_eq!([(); 3].map(|()| client.open()), [1, 3, 5]);
    assert_eq!([(); 3].map(|()| server.open()), [2, 4, 6]);
    assert_eq!(carry(&mut client, &mut server), [1, 3, 5].map(Seen::Opened));
    assert_eq!(carry(&mut server, &mut client), [2, 4, 6].map(Seen::Opened));
}

#[test]
fn streams_wait_to_be_acknowledged() {
    let config = Config { accept_backlog: 2, ..Config::default() };
    let mut client = End::with(Side::Client, config.clone());
    let mut server = End::with(Side::Server, config);
    let ids = [(); 2].map(|()| client.open());
    let now = client.now;
    assert_eq!(client.session.open(now), Err(LocalError::TooManyUnacknowledged));
    // What ends gives its place back.
    client.session.reset(ids[0]).unwrap();
    assert_eq!(client.open(), 5);
    assert_eq!(client.session.open(now), Err(LocalError::TooManyUnacknowledged));
    assert_eq!(carry(&mut client, &mut server), [3, 5].map(Seen::Opened));
    server.session.accept(3).unwrap();
    assert_eq!(carry(&mut server, &mut client), [Seen::Acked(3)]);
    assert_eq!(client.open(), 7);
    assert_eq!(carry(&mut client, &mut server), [Seen::Opened(7)]);
}

#[test]
fn streams_past_the_backlog_are_refused() {
    let mut server = End::new(Side::Server);
    let syns: Vec<u8> = (0..300).flat_map(|index| update(SYN, index * 2 + 1, 0)).collect();
    assert_eq!(server.receive(&syns).len(), 256);
    assert_eq!(server.headers().len(), 44);
    server.session.accept(1).unwrap();
    server.session.reset(3).unwrap();
    let more = [601, 603, 605].map(|id| update(SYN, id, 0)).concat();
    assert_eq!(server.receive(&more), [601, 603].map(Seen::Opened));
}

#[test]
fn there_are_only_so_many_streams() {
    let mut server = End::with(Side::Server, Config { stream_limit: 2, ..Config::default() });
    for id in [1, 3, 5] {
        server.receive(&update(SYN, id, 0));
        server.session.accept(id).unwrap();
    }
    assert_eq!(server.session.stream_count(), 2);
}

#[test]
fn a_larger_window_is_used_by_both() {
    let config = Config { receive_window: 1 << 20, ..Config::default() };
    let mut client = End::with(Side::Client, config.clone());
    let mut server = End::with(Side::Server, config);
    let id = open(&mut client, &mut server);
    client.session.send(id, vec![0; 2 << 20]).unwrap();
    assert_eq!(payload(&carry(&mut client, &mut server)).len(), 1 << 20);
    server.session.send(id, vec![0; 2 << 20]).unwrap();
    assert_eq!(payload(&carry(&mut server, &mut client)).len(), 1 << 20);
}
