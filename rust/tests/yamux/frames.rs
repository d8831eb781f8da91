//! Frames one by one: what a session sends for what it is told, and tells of what comes.

use std::time::Duration;

use pyplugin_rust::yamux::{
    ACK, Config, FIN, GoAway, Header, INITIAL_WINDOW, Kind, RST, SYN, SessionError, Side,
};

use crate::ends::{End, Seen, data, frame, go_away, update};

fn window_update(flags: u16, stream: u32, length: u32) -> Header {
    Header { kind: Kind::WindowUpdate, flags, stream, length }
}

#[test]
fn a_header_is_what_it_was() {
    let bytes = [0, 1, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8];
    let header = Header::decode(bytes).unwrap();
    let expected = Header {
        kind: Kind::WindowUpdate,
        flags: 0x1234,
        stream: 0x0102_0304,
        length: 0x0506_0708,
    };
    assert_eq!(header, expected);
    assert_eq!(header.encode(), bytes);
}

#[test]
fn syn_and_ack_go_on_window_updates_that_carry_the_larger_window() {
    let config = Config { receive_window: INITIAL_WINDOW + 1000, ..Config::default() };
    let mut client = End::with(Side::Client, config.clone());
    let id = client.open();
    client.session.send(id, b"early".to_vec()).unwrap();
    let payload = Header { kind: Kind::Data, flags: 0, stream: 1, length: 5 };
    assert_eq!(client.headers(), [window_update(SYN, 1, 1000), payload]);

    let mut server = End::with(Side::Server, config);
    assert_eq!(server.receive(&update(SYN, 1, 7)), [Seen::Opened(1)]);
    assert_eq!(server.headers(), []);
    server.session.accept(1).unwrap();
    server.session.accept(1).unwrap();
    assert_eq!(server.headers(), [window_update(ACK, 1, 1000)]);
}

#[test]
fn a_small_window_is_the_initial_one() {
    let mut client = End::with(Side::Client, Config { receive_window: 1, ..Config::default() });
    client.open();
    assert_eq!(client.headers(), [window_update(SYN, 1, 0)]);
}

#[test]
fn to_send_or_finish_accepts() {
    for finishes in [false, true] {
        let mut server = End::new(Side::Server);
        server.receive(&update(SYN, 1, 0));
        if finishes {
            server.session.finish(1).unwrap();
            assert_eq!(server.headers(), [window_update(ACK, 1, 0), window_update(FIN, 1, 0)]);
        } else {
            server.session.send(1, vec![1]).unwrap();
            assert_eq!(server.headers()[0], window_update(ACK, 1, 0));
        }
    }
}

#[test]
fn an_update_is_sent_at_half_the_window() {
    let mut server = End::new(Side::Server);
    server.receive(&[update(SYN, 1, 0), data(0, 1, &vec![0; INITIAL_WINDOW as usize])].concat());
    server.session.accept(1).unwrap();
    server.headers();
    server.session.consume(1, INITIAL_WINDOW as usize / 2 - 1).unwrap();
    assert_eq!(server.headers(), []);
    server.session.consume(1, 1).unwrap();
    server.session.consume(1, 10).unwrap();
    assert_eq!(server.headers(), [window_update(0, 1, INITIAL_WINDOW / 2 + 10)]);
}

#[test]
fn no_update_is_sent_for_a_stream_that_has_ended() {
    let mut server = End::new(Side::Server);
    let full = data(FIN, 1, &vec![0; INITIAL_WINDOW as usize]);
    server.receive(&[update(SYN, 1, 0), full].concat());
    server.session.accept(1).unwrap();
    server.headers();
    server.session.consume(1, INITIAL_WINDOW as usize).unwrap();
    assert_eq!(server.headers(), []);
}

#[test]
fn consumed_before_it_was_accepted_is_told_with_the_ack() {
    let mut server = End::new(Side::Server);
    server.receive(&[update(SYN, 1, 0), data(0, 1, &vec![0; 200_000])].concat());
    server.session.consume(1, 150_000).unwrap();
    assert_eq!(server.headers(), []);
    server.session.accept(1).unwrap();
    assert_eq!(server.headers(), [window_update(ACK, 1, 150_000)]);
}

#[test]
fn flags_of_one_frame_are_told_in_order() {
    let mut server = End::new(Side::Server);
    let bytes = data(SYN | FIN, 1, b"all of it");
    let events = [Seen::Opened(1), Seen::Data(1, b"all of it".to_vec()), Seen::Finished(1)];
    assert_eq!(server.receive(&bytes), events);
    assert_eq!(server.receive(&update(SYN | RST, 3, 0)), [Seen::Opened(3), Seen::Reset(3)]);
    assert_eq!(server.receive(&data(SYN | FIN, 5, b"")), [Seen::Opened(5), Seen::Finished(5)]);
    let id = server.open();
    server.headers();
    let events = [Seen::Acked(id), Seen::Data(id, b"x".to_vec()), Seen::Finished(id)];
    assert_eq!(server.receive(&data(ACK | FIN, id, b"x")), events);
    let id = server.open();
    server.headers();
    assert_eq!(server.receive(&update(ACK | RST, id, 0)), [Seen::Acked(id), Seen::Reset(id)]);
}

#[test]
fn a_window_that_comes_with_the_end_is_used() {
    let mut client = End::new(Side::Client);
    let id = client.open();
    let window = INITIAL_WINDOW as usize;
    client.session.send(id, vec![0; window + 5]).unwrap();
    client.headers();
    assert_eq!(client.events(), [Seen::Writable(id)]);
    assert_eq!(client.receive(&update(ACK | FIN, id, 5)), [Seen::Acked(id), Seen::Finished(id)]);
    assert_eq!(client.headers(), [Header { kind: Kind::Data, flags: 0, stream: id, length: 5 }]);
}

#[test]
fn payload_of_a_reset_is_not_told() {
    let mut server = End::new(Side::Server);
    server.receive(&update(SYN, 1, 0));
    let bytes = [data(RST, 1, b"gone"), update(SYN, 3, 0)].concat();
    assert_eq!(server.receive(&bytes), [Seen::Reset(1), Seen::Opened(3)]);
}

#[test]
fn data_behind_a_finish_is_dropped() {
    let mut server = End::new(Side::Server);
    server.receive(&[update(SYN, 1, 0), update(FIN, 1, 0)].concat());
    assert_eq!(server.receive(&[data(0, 1, b"late"), update(0, 1, 1)].concat()), []);
}

#[test]
fn frames_of_a_stream_that_is_gone_mean_nothing() {
    let mut server = End::new(Side::Server);
    server.receive(&[update(SYN, 1, 0), data(0, 1, b"half ")[..14].to_vec()].concat());
    server.session.reset(1).unwrap();
    server.session.reset(1).unwrap();
    assert_eq!(server.headers(), [window_update(RST, 1, 0)]);
    let rest = [b"f ".to_vec(), b"x".to_vec()].concat();
    assert_eq!(server.receive(&rest), []);
    let late = [data(FIN, 1, b"late"), update(0, 1, u32::MAX), update(FIN, 1, 0)].concat();
    assert_eq!(server.receive(&[late, update(RST | ACK, 2, 0)].concat()), []);
    server.session.accept(1).unwrap();
    server.session.consume(1, 5).unwrap();
    server.session.finish(1).unwrap();
    assert_eq!(server.headers(), []);
    // The id may be used again, as in Go.
    assert_eq!(server.receive(&update(SYN, 1, 0)), [Seen::Opened(1)]);
}

#[test]
fn unknown_flags_and_an_ack_that_comes_again_mean_nothing() {
    let mut client = End::new(Side::Client);
    client.open();
    client.headers();
    assert_eq!(client.receive(&update(ACK | 0xfff0, 1, 0)), [Seen::Acked(1)]);
    assert_eq!(client.receive(&update(ACK, 1, 0)), []);
}

#[test]
fn an_ack_before_the_syn_means_nothing() {
    let mut client = End::new(Side::Client);
    client.open();
    assert_eq!(client.receive(&update(ACK, 1, 0)), []);
    assert_eq!(client.headers(), [window_update(SYN, 1, 0)]);
}

#[test]
fn a_ping_is_answered_with_its_number() {
    let mut server = End::new(Side::Server);
    server.receive(&frame(Kind::Ping, SYN, 0, 0xdead_beef));
    let pong = Header { kind: Kind::Ping, flags: ACK, stream: 0, length: 0xdead_beef };
    assert_eq!(server.headers(), [pong]);
}

#[test]
fn a_pong_tells_how_long_it_took() {
    let mut client = End::new(Side::Client);
    client.session.ping(client.now).unwrap();
    client.session.ping(client.now).unwrap();
    let ping = Header { kind: Kind::Ping, flags: SYN, stream: 0, length: 0 };
    assert_eq!(client.headers(), [ping]);
    client.now += Duration::from_millis(5);
    assert_eq!(client.receive(&frame(Kind::Ping, ACK, 0, 1)), []);
    let answer = frame(Kind::Ping, ACK, 0, 0);
    assert_eq!(client.receive(&answer), [Seen::Pong(Duration::from_millis(5))]);
    assert_eq!(client.receive(&answer), []);
    client.session.ping(client.now).unwrap();
    assert_eq!(client.headers(), [Header { length: 1, ..ping }]);
}

#[test]
fn a_go_away_is_told_once_and_no_stream_is_opened_then() {
    let mut client = End::new(Side::Client);
    let bytes = frame(Kind::GoAway, 0, 0, 0);
    assert_eq!(client.receive(&bytes.repeat(3)), [Seen::GoAway]);
    let error = client.session.open(client.now).unwrap_err();
    assert_eq!(error.to_string(), "the session takes no new streams");
    assert_eq!(client.receive(&update(SYN, 2, 0)), [Seen::Opened(2)]);
}

#[test]
fn to_go_away_refuses_streams_and_keeps_those_that_are_there() {
    let mut server = End::new(Side::Server);
    server.receive(&update(SYN, 1, 0));
    let id = server.open();
    server.session.go_away().unwrap();
    server.session.go_away().unwrap();
    let frames = [go_away(GoAway::Normal), window_update(SYN, id, 0)];
    assert_eq!(server.headers(), frames);
    assert!(server.session.open(server.now).is_err());
    let bytes = [data(SYN, 3, b"refused"), data(0, 1, b"x")].concat();
    assert_eq!(server.receive(&bytes), [Seen::Data(1, b"x".to_vec())]);
    assert_eq!(server.headers(), [window_update(RST, 3, 0)]);
    server.session.finish(1).unwrap();
    server.session.finish(1).unwrap();
    assert_eq!(server.headers(), [window_update(ACK, 1, 0), window_update(FIN, 1, 0)]);
}

#[test]
fn a_peer_that_gives_up_ends_the_session_unanswered() {
    for code in [1, 2, 77] {
        let mut server = End::new(Side::Server);
        let error = SessionError::GaveUp { code };
        let bytes = [frame(Kind::GoAway, 0, 0, code), update(SYN, 1, 0)].concat();
        assert_eq!(server.receive(&bytes), [Seen::Failed(error)]);
        assert_eq!(server.headers(), []);
    }
}

#[test]
fn the_end_of_the_connection_ends_the_session() {
    let mut server = End::new(Side::Server);
    server.receive(&update(SYN, 1, 0)[..5]);
    server.session.go_away().unwrap();
    server.session.receive_eof();
    server.session.receive_eof();
    assert_eq!(server.events(), [Seen::Failed(SessionError::Closed)]);
    assert_eq!(server.headers(), []);
}

#[test]
fn what_was_not_written_comes_again() {
    let mut client = End::new(Side::Client);
    let id = client.open();
    client.session.send(id, b"one".to_vec()).unwrap();
    let length = client.session.poll_transmit(1000, client.now).unwrap().len();
    client.session.finish(id).unwrap();
    assert_eq!(client.transmit(1000).len(), length);
    assert_eq!(client.headers(), [window_update(FIN, 1, 0)]);
}

#[test]
fn what_was_chosen_of_a_stream_that_is_reset_then_is_blank() {
    let mut client = End::new(Side::Client);
    let id = client.open();
    client.session.send(id, b"secret".to_vec()).unwrap();
    assert!(client.session.poll_transmit(1000, client.now).is_some());
    client.session.reset(id).unwrap();
    let frames = client.frames();
    assert_eq!(frames[1].1, [0; 6]);
    assert_eq!(frames[2].0, window_update(RST, 1, 0));
}
