//! What happens when time passes.

use std::time::Duration;

use pyplugin_rust::yamux::{ACK, Config, FIN, GoAway, Header, Kind, RST, SYN, SessionError, Side};

use crate::ends::{End, NOW, Seen, carry, frame, go_away, open, pair, update};

const SECOND: Duration = Duration::from_secs(1);

fn quiet(side: Side) -> End {
    End::with(side, Config { keep_alive: None, ..Config::default() })
}

#[test]
fn a_ping_is_sent_every_30_seconds() {
    let (mut client, mut server) = pair();
    for count in 1..4 {
        assert_eq!(client.session.poll_timeout(), Some(client.now + 30 * SECOND));
        assert_eq!(client.wait(), []);
        assert_eq!(client.now, NOW + count * 30 * SECOND);
        assert_eq!(client.session.poll_timeout(), Some(client.now + 10 * SECOND));
        assert_eq!(carry(&mut client, &mut server), []);
        assert_eq!(carry(&mut server, &mut client), [Seen::Pong(Duration::ZERO)]);
    }
}

#[test]
fn a_ping_without_an_answer_ends_the_session() {
    let mut client = End::new(Side::Client);
    client.open();
    assert_eq!(client.wait(), []);
    client.session.handle_timeout(client.now + 9 * SECOND).unwrap();
    assert_eq!(client.events(), []);
    assert_eq!(client.wait(), [Seen::Failed(SessionError::PingTimeout)]);
    assert_eq!(client.now, NOW + 40 * SECOND);
    assert_eq!(client.headers(), [go_away(GoAway::InternalError)]);
}

#[test]
fn a_late_timer_still_gives_the_peer_its_time() {
    let mut client = End::new(Side::Client);
    client.now += 1000 * SECOND;
    client.session.handle_timeout(client.now).unwrap();
    assert_eq!(client.session.poll_timeout(), Some(client.now + 10 * SECOND));
    let ping = Header { kind: Kind::Ping, flags: SYN, stream: 0, length: 0 };
    assert_eq!(client.headers(), [ping]);
    client.receive(&frame(Kind::Ping, ACK, 0, 0));
    assert_eq!(client.session.poll_timeout(), Some(client.now + 30 * SECOND));
}

#[test]
fn without_keep_alive_there_is_no_timer() {
    let mut client = quiet(Side::Client);
    assert_eq!(client.session.poll_timeout(), None);
    client.session.ping(client.now).unwrap();
    assert_eq!(client.wait(), [Seen::Failed(SessionError::PingTimeout)]);
}

#[test]
fn a_stream_that_is_not_acknowledged_ends_the_session() {
    let mut client = quiet(Side::Client);
    client.open();
    client.now += SECOND;
    let late = client.open();
    client.headers();
    assert_eq!(client.receive(&update(ACK, 1, 0)), [Seen::Acked(1)]);
    let error = SessionError::OpenTimeout { stream: late };
    assert_eq!(client.wait(), [Seen::Failed(error)]);
    assert_eq!(client.now, NOW + 76 * SECOND);
    assert_eq!(client.headers(), [go_away(GoAway::InternalError)]);
}

#[test]
fn a_stream_that_ends_ends_no_session() {
    let mut client = quiet(Side::Client);
    let ids = [(); 4].map(|()| client.open());
    client.headers();
    client.session.reset(ids[0]).unwrap();
    client.session.finish(ids[1]).unwrap();
    client.receive(&[update(RST, ids[2], 0), update(FIN, ids[3], 0)].concat());
    assert_eq!(client.session.poll_timeout(), None);
}

#[test]
fn a_half_closed_stream_is_reset_after_five_minutes() {
    let mut client = quiet(Side::Client);
    let mut server = quiet(Side::Server);
    let id = open(&mut client, &mut server);
    client.session.finish(id).unwrap();
    assert_eq!(client.session.poll_timeout(), None);
    assert_eq!(carry(&mut client, &mut server), [Seen::Finished(id)]);
    assert_eq!(server.session.poll_timeout(), None);
    assert_eq!(client.wait(), [Seen::Reset(id)]);
    assert_eq!(client.now, NOW + 300 * SECOND);
    assert_eq!(carry(&mut client, &mut server), [Seen::Reset(id)]);
    assert_eq!((client.session.stream_count(), server.session.stream_count()), (0, 0));
}

#[test]
fn a_stream_that_both_finished_has_no_timer() {
    let mut client = quiet(Side::Client);
    let mut server = quiet(Side::Server);
    for resets in [false, true] {
        let id = open(&mut client, &mut server);
        client.session.finish(id).unwrap();
        carry(&mut client, &mut server);
        assert!(client.session.poll_timeout().is_some());
        if resets {
            client.session.reset(id).unwrap();
        } else {
            server.session.finish(id).unwrap();
            carry(&mut server, &mut client);
        }
        assert_eq!(client.session.poll_timeout(), None);
    }
}

#[test]
fn a_clock_at_its_end_does_no_harm() {
    let mut client = End::new(Side::Client);
    client.now = Duration::MAX;
    client.session.handle_timeout(client.now).unwrap();
    assert_eq!(client.events(), []);
    client.session.handle_timeout(client.now).unwrap();
    assert_eq!(client.events(), [Seen::Failed(SessionError::PingTimeout)]);
}
