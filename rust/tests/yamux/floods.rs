//! A peer that sends and sends, and reads nothing.

use pyplugin_rust::yamux::{Kind, RST, SYN, Side};

use crate::ends::{End, Seen, data, frame, update};

#[test]
fn only_so_many_pings_are_answered() {
    let mut server = End::new(Side::Server);
    for value in 0..100_000 {
        assert_eq!(server.receive(&frame(Kind::Ping, SYN, 0, value)), []);
    }
    let values: Vec<_> = server.headers().iter().map(|header| header.length).collect();
    assert_eq!(values, (0..64).collect::<Vec<_>>());
}

#[test]
fn streams_that_come_and_go_leave_nothing() {
    let mut server = End::new(Side::Server);
    for _ in 0..10_000 {
        for id in [1, 3] {
            assert_eq!(server.receive(&update(SYN, id, 0)), [Seen::Opened(id)]);
            server.session.send(id, vec![0; 10]).unwrap();
            assert_eq!(server.receive(&update(RST, id, 0)), [Seen::Reset(id)]);
        }
    }
    assert_eq!(server.receive(&update(SYN, 1, 0)), [Seen::Opened(1)]);
    server.session.send(1, b"x".to_vec()).unwrap();
    let frames = server.frames();
    assert_eq!(frames.iter().map(|(header, _)| header.stream).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(frames[1].1, b"x");
}

#[test]
fn frames_without_content_are_not_told() {
    let mut server = End::new(Side::Server);
    server.receive(&update(SYN, 1, 0));
    server.session.accept(1).unwrap();
    server.headers();
    let empty = [data(0, 1, b""), update(0, 1, 0), update(RST, 7, 0), data(0, 9, b"x")].concat();
    assert_eq!(server.receive(&empty.repeat(10_000)), []);
    assert_eq!(server.headers(), []);
}
