//! What waits for a loop takes hardly more memory than it is said to take.

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

use pyplugin_rust::hclog::Level;
use pyplugin_rust::hclog::batch::LogStream;
use pyplugin_rust::pump::{Progress, Queue, READ_BYTES, Sink, Source};

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
