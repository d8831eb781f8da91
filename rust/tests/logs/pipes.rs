//! Pipes, and time enough for what goes through them.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// After so long nothing will happen any more, on however busy a machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Fails when `work` does not end, as it does where somebody waits in vain.
pub(crate) fn within_limit(work: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        work();
        drop(sender);
    });
    let end: Result<(), _> = receiver.recv_timeout(LIMIT);
    assert_ne!(end, Err(RecvTimeoutError::Timeout), "it did not end in {LIMIT:?}");
    if let Err(error) = thread.join() {
        resume_unwind(error);
    }
}

/// Whether `file` has something to read, or comes to have it within `limit`.
pub(crate) fn is_readable(file: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&limit)).unwrap() > 0
}

/// Makes reads or writes fail that would block.
pub(crate) fn set_nonblocking(file: impl AsFd) {
    let flags = fcntl_getfl(&file).unwrap();
    fcntl_setfl(&file, flags | OFlags::NONBLOCK).unwrap();
}

/// Makes them wait again.
pub(crate) fn set_blocking(file: impl AsFd) {
    let flags = fcntl_getfl(&file).unwrap();
    fcntl_setfl(&file, flags - OFlags::NONBLOCK).unwrap();
}

/// A pipe whose read end does not block, as that of a plugin's stderr.
pub(crate) fn plugin_pipe() -> (File, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    set_nonblocking(&reader);
    (file(reader), writer)
}

/// A pipe whose write end is what lines are forwarded to.
pub(crate) fn forward_pipe(blocks: bool) -> (PipeReader, File) {
    let (reader, writer) = pipe().unwrap();
    if !blocks {
        set_nonblocking(&writer);
    }
    (reader, file(writer))
}

/// The same descriptor.
pub(crate) fn file(end: impl Into<OwnedFd>) -> File {
    File::from(end.into())
}

/// All that `reader` gives at once, up to `most` bytes; it has to have something.
pub(crate) fn read_some(mut reader: impl Read + AsFd, most: usize) -> Vec<u8> {
    assert!(is_readable(&reader, LIMIT), "nothing came");
    let mut bytes = vec![0; most];
    let count = reader.read(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}
