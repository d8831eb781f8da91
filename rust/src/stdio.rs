//! What a plugin's own code prints, on its way to the host (`GRPCStdio`).
//!
//! A thread reads the pipes that stand for stdout and stderr. Whoever prints waits while the host
//! takes nothing, with one exception: an event loop that waits for its own `print` can take nothing
//! either, so what it prints is kept meanwhile, up to a limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

// How much is read at once, and how much of a kind is kept in one piece.
const READ_BYTES: usize = 64 * 1024;
// How much may wait for the host.
const ROOM_BYTES: usize = 256 * 1024;
// How much an event loop may print while it waits for itself; what is beyond that is lost.
const MOST_BYTES: usize = 64 * 1024 * 1024;
// How long an event loop gets to show that it runs. Asked again and again, it gets longer.
const FIRST_PATIENCE: Duration = Duration::from_millis(20);
const LAST_PATIENCE: Duration = Duration::from_millis(640);

// What stands between two chunks: the message's length and the head of a field, at their longest.
const MOST_FRAME_BYTES: usize = 5 + 2 + 6;

/// Where something was printed, with its number in `StdioData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// What was printed and waits for the host.
pub struct Output {
    shared: Arc<Shared>,
    nudger: PipeWriter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    has_changed: Condvar,
    // A byte is in the pipe while the loop is to look.
    sleeper: PipeReader,
    waker: PipeWriter,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
    lost: u64,
    is_woken: bool,
    // The loop does not come to look: it may be what prints.
    is_stuck: bool,
    is_over: bool,
    // Flushes that were asked for, and those that are done.
    wanted: u64,
    done: u64,
}

struct Piece {
    channel: Channel,
    bytes: Vec<u8>,
    taken: usize,
}

impl Output {
    /// Reads `stdout` and `stderr` from now on.
    ///
    /// # Errors
    /// The system gives no pipe or no thread.
    pub fn new(stdout: File, stderr: File) -> io::Result<Self> {
        let (sleeper, waker) = io::pipe()?;
        let (nudge, nudger) = io::pipe()?;
        let (state, has_changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, has_changed, sleeper, waker });
        let reader = Reader {
            shared: Arc::clone(&shared),
            pipes: [Some((Channel::Stdout, stdout)), Some((Channel::Stderr, stderr))],
            nudge,
        };
        let builder = std::thread::Builder::new().name("pyplugin-stdio".into());
        let thread = Mutex::new(Some(builder.spawn(move || reader.run())?));
        Ok(Self { shared, nudger, thread })
    }

    /// What is readable when the loop is to call `look`.
    #[must_use]
    pub fn sleeper(&self) -> &PipeReader {
        &self.shared.sleeper
    }

    /// The loop looks: whatever comes from now on wakes it. Returns whether something waits.
    pub fn look(&self) -> bool {
        let mut state = self.shared.lock();
        state.is_stuck = false;
        if std::mem::take(&mut state.is_woken) {
            // The byte is there: it was written under this lock.
            drop((&self.shared.sleeper).read(&mut [0]));
        }
        state.bytes > 0
    }

    /// Takes what was printed first, about `most` bytes of it at the most, as gRPC messages of type
    /// `StdioData` one after the other, with `chunk` bytes each at the most.
    pub fn take(&self, most: usize, chunk: usize) -> Vec<u8> {
        let chunk = chunk.max(1);
        let mut state = self.shared.lock();
        let mut left = most.min(state.bytes);
        let frames = left.div_ceil(chunk).saturating_add(state.pieces.len());
        let mut messages =
            Vec::with_capacity(left.saturating_add(frames.saturating_mul(MOST_FRAME_BYTES)));
        while let Some(mut piece) = state.pieces.pop_front() {
            while left > 0
                && let Some(rest) = piece.bytes.get(piece.taken..).filter(|rest| !rest.is_empty())
            {
                let size = rest.len().min(chunk).min(left);
                write_message(&mut messages, piece.channel, rest.get(..size).unwrap_or(rest));
                piece.taken = piece.taken.saturating_add(size);
                left = left.saturating_sub(size);
                state.bytes = state.bytes.saturating_sub(size);
            }
            if piece.taken < piece.bytes.len() {
                state.pieces.push_front(piece);
                break;
            }
        }
        self.shared.has_changed.notify_all();
        messages
    }

    /// Asks for `is_flushed`.
    pub fn flush(&self) {
        let mut state = self.shared.lock();
        state.wanted = state.wanted.saturating_add(1);
        drop(state);
        self.nudge();
    }

    /// Whether all that had been printed at the last `flush` has been taken. Wakes the loop when it
    /// comes true without a `take`.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        let state = self.shared.lock();
        state.done == state.wanted && state.bytes == 0
    }

    /// How many bytes were lost since the last call, for want of room.
    pub fn lost(&self) -> u64 {
        std::mem::take(&mut self.shared.lock().lost)
    }

    /// Ends the thread; it is gone when this returns, and the pipes are closed.
    pub fn end(&self) {
        self.shared.lock().is_over = true;
        self.shared.has_changed.notify_all();
        self.nudge();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    fn nudge(&self) {
        drop((&self.nudger).write(&[1]));
    }
}

fn write_message(messages: &mut Vec<u8>, channel: Channel, data: &[u8]) {
    let start = messages.len();
    // gRPC: not compressed, and a length that is known at the end.
    messages.extend([0; 5]);
    // StdioData: field 1 is the channel, field 2 what was printed.
    messages.extend([0x08, channel as u8, 0x12]);
    let mut length = data.len();
    while length >= 0x80 {
        messages.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    messages.push(u8::try_from(length).unwrap_or(0));
    messages.extend_from_slice(data);
    let size = messages.len().saturating_sub(start).saturating_sub(5);
    let size = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    for (place, byte) in messages.iter_mut().skip(start).skip(1).zip(size) {
        *place = byte;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left half done is at worst a piece; the rest goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &mut State) {
        if !std::mem::replace(&mut state.is_woken, true) {
            drop((&self.waker).write(&[1]));
        }
    }

    fn push(&self, channel: Channel, bytes: &[u8]) {
        let mut state = self.lock();
        self.wake(&mut state);
        if state.bytes >= MOST_BYTES {
            state.lost = state.lost.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return;
        }
        state.bytes = state.bytes.saturating_add(bytes.len());
        if let Some(last) = state.pieces.back_mut()
            && last.channel == channel
            && last.bytes.len().saturating_add(bytes.len()) <= READ_BYTES
        {
            last.bytes.extend_from_slice(bytes);
        } else {
            state.pieces.push_back(Piece { channel, bytes: bytes.to_vec(), taken: 0 });
        }
    }

    // Waits while enough waits for the host, unless it waits for a loop that waits for this. Returns
    // the number of the last flush, and whether it is still to be done; None when it is over.
    fn wait_for_room(&self) -> Option<(u64, bool)> {
        let mut state = self.lock();
        let mut patience = FIRST_PATIENCE;
        while !state.is_over && state.bytes >= ROOM_BYTES && !state.is_stuck {
            self.wake(&mut state);
            let wait = self.has_changed.wait_timeout(state, patience);
            let (next, result) = wait.unwrap_or_else(PoisonError::into_inner);
            state = next;
            if result.timed_out() {
                state.is_stuck = state.is_woken;
                patience = patience.saturating_mul(2).min(LAST_PATIENCE);
            }
        }
        (!state.is_over).then_some((state.wanted, state.wanted > state.done))
    }

    fn flushed(&self, number: u64) {
        let mut state = self.lock();
        state.done = number;
        self.wake(&mut state);
    }
}

struct Reader {
    shared: Arc<Shared>,
    // None once all that can write to it has closed it.
    pipes: [Option<(Channel, File)>; 2],
    nudge: PipeReader,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES];
        while let Some((wanted, is_flushing)) = self.shared.wait_for_room() {
            let Ok(ready) = self.wait(is_flushing) else { return };
            let mut is_any = false;
            for (place, is_ready) in self.pipes.iter_mut().zip(ready) {
                let Some((channel, pipe)) = place.as_mut().filter(|_| is_ready) else { continue };
                match pipe.read(&mut buffer) {
                    Ok(count @ 1..) => {
                        self.shared.push(*channel, buffer.get(..count).unwrap_or_default());
                        is_any = true;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => is_any = true,
                    Ok(0) | Err(_) => *place = None,
                }
            }
            if is_flushing && !is_any {
                self.shared.flushed(wanted);
            }
        }
    }

    // Waits until something may be read, unless this is a flush; tells of which pipes.
    fn wait(&self, is_flushing: bool) -> io::Result<[bool; 2]> {
        let mut files = vec![PollFd::new(&self.nudge, PollFlags::IN)];
        files.extend(self.pipes.iter().flatten().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
        let limit = is_flushing.then(Timespec::default);
        while let Err(error) = poll(&mut files, limit.as_ref()) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let mut ready = files.iter().map(|file| !file.revents().is_empty());
        if ready.next() == Some(true) {
            drop((&self.nudge).read(&mut [0]));
        }
        let mut next = |pipe: &Option<_>| pipe.is_some() && ready.next() == Some(true);
        let [stdout, stderr] = &self.pipes;
        Ok([next(stdout), next(stderr)])
    }
}
