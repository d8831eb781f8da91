//! What waits for a loop takes hardly more memory than it is said to take, and an idle stream little.

#![cfg(unix)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic; an allocator is unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{Write, pipe};
use std::os::fd::OwnedFd;
use std::time::Duration;

use pyplugin_rust::hclog::Level;
use pyplugin_rust::hclog::batch::LogStream;
use pyplugin_rust::pump::{Progress, Queue, READ_BYTES, Sink, Source};
use pyplugin_rust::yamux::{ACK, Config, Header, Kind, SYN, Session, Side};

struct Counting;

thread_local! {
    // What this thread has allocated and not freed.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: it is the system's own; to count allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.set(TAKEN.get().wrapping_add(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        TAKEN.set(TAKEN.get().wrapping_sub(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_batch_takes_as_much_as_it_says() {
    let queue = Queue::new(false).unwrap();
    let (reader, mut writer) = pipe().unwrap();
    let pipe = File::from(OwnedFd::from(reader));
    let source = Source::new(0, pipe, &queue, LogStream::new(1 << 16), Sink::Queue, false, true);
    let mut buffer = vec![0; READ_BYTES];
    let info = b"[INFO] a line of the kind that there are many of\n".repeat(1300);
    for (least, text) in [
        (Level::Trace, info.clone()),
        (Level::Trace, b"x\n".repeat(30_000)),
        (Level::Trace, b"one\n".to_vec()),
        // What nobody wants takes no room.
        (Level::Error, [&info[..], b"[ERROR] one\n"].concat()),
        (Level::Off, info.clone()),
    ] {
        source.set_least(least);
        writer.write_all(&text).unwrap();
        assert_eq!(source.read(&mut buffer), Progress::Read(text.len()));
        let (_, batch) = queue.take().unwrap();
        let said = batch.size();
        let before = TAKEN.get();
        drop(batch);
        let taken = before.wrapping_sub(TAKEN.get());
        // A vector that grows may be twice as large as what is in it.
        assert!(taken <= 2 * said + 1024, "{taken} bytes, said to be {said}, from {least:?} up");
    }
}

#[test]
fn an_idle_stream_takes_no_more_than_128_bytes() {
    let now = Duration::ZERO;
    for side in [Side::Client, Side::Server] {
        let before = TAKEN.get();
        let mut session = Session::<Vec<u8>>::new(side, Config::default(), now);
        let headers = [
            Header { kind: Kind::WindowUpdate, flags: SYN, stream: 0, length: 0 },
            Header { kind: Kind::Data, flags: ACK, stream: 0, length: 1 },
        ];
        let mut most = 0;
        // Right after the table of streams has grown it is at its emptiest.
        for count in 1..=20_000_u32 {
            let id = match side {
                Side::Client => session.open(now).unwrap(),
                Side::Server => count * 2 - 1,
            };
            if let Some(transmit) = session.poll_transmit(100, now) {
                transmit.write(|_| {});
            }
            for header in headers.into_iter().skip(usize::from(side == Side::Client)) {
                let mut bytes = Header { stream: id, ..header }.encode().to_vec();
                let payload = usize::from(header.kind == Kind::Data);
                bytes.resize(bytes.len() + payload, 0);
                let mut chunk = bytes.as_slice();
                while session.receive(&mut chunk, now).unwrap().is_some() {}
            }
            session.send(id, vec![0; 100]).unwrap();
            while let Some(transmit) = session.poll_transmit(1000, now) {
                transmit.write(|_| {});
            }
            session.consume(id, 1).unwrap();
            if count >= 1000 {
                most = most.max(TAKEN.get().wrapping_sub(before) / count as usize);
            }
        }
        assert_eq!(session.stream_count(), 20_000);
        assert!(most <= 128, "{side:?}: {most} bytes");
    }
}
