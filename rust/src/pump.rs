//! The log pump: reads the stderr of all plugins, and hands on what it says.
//!
//! A pipe is read by one of two: by the event loop of its host while little comes, which saves two
//! wake-ups a line, or by the one thread of the pump while much comes, which leaves the loop free.
//! Lines wait in a queue of the loop, bounded and fair; when it is full nobody reads, and the plugin
//! blocks. What is forwarded to a descriptor never sees the loop.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::forward::{Encoder, Target};
use crate::hclog::batch::{Batch, LogStream};
use crate::hclog::{Level, Record};

pub use self::reader::Reader;

#[cfg_attr(not(unix), path = "pump/no_reader.rs")]
mod reader;

/// How much is read at once.
pub const READ_BYTES: usize = 64 * 1024;

// How much may wait for a loop, shared by the plugins that it has.
const QUEUE_BYTES: usize = 1024 * 1024;
// What each plugin may have waiting, however many there are.
const LEAST_SHARE: usize = 4096;

/// Names a source, for good.
pub type SourceId = usize;

/// What happened to a source, beside its lines.
#[derive(Debug)]
pub enum Event {
    /// Nothing more comes, and all that came has been taken.
    Ended,
    /// The thread has given it back: little comes.
    Returned,
    /// What it forwards cannot be written, for this reason.
    Failed(io::Error),
}

/// What a read led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes came.
    Read(usize),
    /// There is nothing to read now.
    Nothing,
    /// There will be nothing more.
    Ended,
}

impl Progress {
    // Whether nothing more is to be read of a source whose process has ended.
    fn is_last(self, state: &SourceState) -> bool {
        match self {
            Self::Ended => true,
            Self::Nothing => state.left.is_some(),
            Self::Read(_) => state.left == Some(0),
        }
    }
}

/// Lines on their way to one event loop.
pub struct Queue {
    state: Mutex<QueueState>,
    has_room: Condvar,
    // A byte is in the pipe while the loop is to look.
    sleeper: PipeReader,
    waker: PipeWriter,
    has_waiter: bool,
}

#[derive(Default)]
struct QueueState {
    slots: HashMap<SourceId, Slot>,
    // The sources that have something waiting, the one whose turn it is first.
    turns: VecDeque<SourceId>,
    events: Vec<(SourceId, Event)>,
    is_woken: bool,
    is_over: bool,
}

#[derive(Default)]
struct Slot {
    batches: VecDeque<Batch>,
    bytes: usize,
    has_ended: bool,
    // Whether somebody stopped reading for want of room.
    is_stopped: bool,
}

impl QueueState {
    fn share(&self) -> usize {
        QUEUE_BYTES.checked_div(self.slots.len()).unwrap_or(QUEUE_BYTES).max(LEAST_SHARE)
    }

    fn push(&mut self, id: SourceId, batch: Batch) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.batches.is_empty() {
            self.turns.push_back(id);
        }
        slot.bytes = slot.bytes.saturating_add(batch.size());
        slot.batches.push_back(batch);
    }
}

impl Queue {
    /// An empty queue. `has_waiter` tells that a thread calls [`Queue::wait`], for a loop that cannot
    /// watch a pipe itself.
    ///
    /// # Errors
    /// The system gives no pipe to wake the loop by.
    pub fn new(has_waiter: bool) -> io::Result<Arc<Self>> {
        let (sleeper, waker) = io::pipe()?;
        let state = Mutex::default();
        Ok(Arc::new(Self { state, has_room: Condvar::new(), sleeper, waker, has_waiter }))
    }

    /// What is readable when the loop is to look.
    #[must_use]
    pub fn sleeper(&self) -> &PipeReader {
        &self.sleeper
    }

    /// The loop looks: whatever comes from now on wakes it.
    pub fn sleep(&self) {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.is_woken) && !self.has_waiter {
            // The byte is there: it was written under this lock.
            drop((&self.sleeper).read(&mut [0]));
        }
    }

    /// Waits until the loop is to look. Returns false when it never will be again.
    pub fn wait(&self) -> bool {
        matches!((&self.sleeper).read(&mut [0]), Ok(1)) && !lock(&self.state).is_over
    }

    /// Ends whoever waits.
    pub fn end(&self) {
        lock(&self.state).is_over = true;
        // Whether the loop was woken before or not: nobody takes that byte any more.
        drop((&self.waker).write(&[1]));
    }

    /// Takes what waited longest of the source whose turn it is. It takes no room any more.
    pub fn take(&self) -> Option<(SourceId, Batch)> {
        let mut state = lock(&self.state);
        let id = state.turns.pop_front()?;
        let slot = state.slots.get_mut(&id)?;
        let batch = slot.batches.pop_front()?;
        slot.bytes = slot.bytes.saturating_sub(batch.size());
        if !slot.batches.is_empty() {
            state.turns.push_back(id);
        }
        Some((id, batch))
    }

    /// Puts back what was taken and not used up; the other sources come first.
    pub fn put_back(&self, id: SourceId, batch: Batch) {
        let mut state = lock(&self.state);
        let Some(slot) = state.slots.get_mut(&id) else { return };
        slot.bytes = slot.bytes.saturating_add(batch.size());
        slot.batches.push_front(batch);
        if slot.batches.len() == 1 {
            state.turns.push_back(id);
        }
    }

    /// Whether a source stopped for want of room that there is now; it is for the caller to start it.
    pub fn restarts(&self, id: SourceId) -> bool {
        let mut state = lock(&self.state);
        let room = state.share() / 2;
        let Some(slot) = state.slots.get_mut(&id) else { return false };
        let restarts = slot.is_stopped && slot.bytes <= room;
        if restarts {
            slot.is_stopped = false;
            self.has_room.notify_all();
        }
        restarts
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.state).turns.is_empty()
    }

    /// What happened, in order; the end of a source only when its lines have been taken.
    pub fn events(&self) -> Vec<(SourceId, Event)> {
        let mut state = lock(&self.state);
        let mut events = std::mem::take(&mut state.events);
        for (id, slot) in &mut state.slots {
            if slot.batches.is_empty() && std::mem::take(&mut slot.has_ended) {
                events.push((*id, Event::Ended));
            }
        }
        events
    }

    fn tell(&self, id: SourceId, event: Event) {
        let mut state = lock(&self.state);
        match event {
            Event::Ended => {
                if let Some(slot) = state.slots.get_mut(&id) {
                    slot.has_ended = true;
                }
            }
            event => state.events.push((id, event)),
        }
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut QueueState) {
        if !std::mem::replace(&mut state.is_woken, true) {
            drop((&self.waker).write(&[1]));
        }
    }

    // Hands a batch on. The reader in the loop itself wakes nobody.
    fn push(&self, id: SourceId, batch: Batch, wakes: bool) {
        let mut state = lock(&self.state);
        state.push(id, batch);
        if wakes {
            self.wake(&mut state);
        }
    }

    // Whether a source has its share waiting; it counts as stopped then.
    fn stops(&self, id: SourceId) -> bool {
        let mut state = lock(&self.state);
        let share = state.share();
        let Some(slot) = state.slots.get_mut(&id) else { return false };
        slot.is_stopped = slot.bytes >= share;
        slot.is_stopped
    }

    // Waits until a source has room. Returns at once for one that was closed.
    fn wait_for_room(&self, id: SourceId) {
        let mut state = lock(&self.state);
        while state.slots.get(&id).is_some_and(|slot| slot.is_stopped) {
            state = self.has_room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Where the lines of a source go.
#[derive(Debug)]
pub enum Sink {
    /// To the loop.
    Queue,
    /// To a descriptor.
    Forward(Box<Encoder>, Arc<Mutex<Target>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Loop,
    Thread,
    Nobody,
}

/// The stderr of one plugin.
pub struct Source {
    id: SourceId,
    pipe: File,
    queue: Arc<Queue>,
    // The least level that anybody wants, a `Level` as a number.
    least: AtomicU8,
    has_copy: bool,
    // Whether the loop looks at every read, though nothing of it waits for the loop: it knows whether
    // the least level has changed.
    is_looked_at: bool,
    state: Mutex<SourceState>,
}

struct SourceState {
    stream: LogStream,
    sink: Sink,
    owner: Owner,
    // Once the process has ended: how much at the most is still read.
    left: Option<usize>,
    out: Vec<u8>,
    has_failed: bool,
    // What came since the thread last looked whether little comes.
    recent: usize,
}

impl Source {
    /// A source that the loop of `queue` owns.
    ///
    /// `pipe` does not block, unless a thread of its own is to read it. `has_copy` asks for the stream
    /// beside its records, `is_looked_at` for a batch at every read, be it empty.
    #[must_use]
    pub fn new(
        id: SourceId,
        pipe: File,
        queue: &Arc<Queue>,
        stream: LogStream,
        sink: Sink,
        has_copy: bool,
        is_looked_at: bool,
    ) -> Arc<Self> {
        lock(&queue.state).slots.insert(id, Slot::default());
        Arc::new(Self {
            id,
            pipe,
            queue: Arc::clone(queue),
            least: AtomicU8::new(0),
            has_copy,
            is_looked_at,
            state: Mutex::new(SourceState {
                stream,
                sink,
                owner: Owner::Loop,
                left: None,
                out: Vec::new(),
                has_failed: false,
                recent: 0,
            }),
        })
    }

    /// What names it.
    #[must_use]
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The pipe.
    #[must_use]
    pub fn pipe(&self) -> &File {
        &self.pipe
    }

    /// From now on lines below `least` are dropped.
    pub fn set_least(&self, least: Level) {
        self.least.store(least as u8, Ordering::Relaxed);
    }

    /// The last lines that were not empty, oldest first; long ones cut.
    pub fn tail(&self) -> Vec<Vec<u8>> {
        lock(&self.state).stream.tail().map(<[u8]>::to_vec).collect()
    }

    /// Reads once, in the loop. `buffer` is where to.
    pub fn read(&self, buffer: &mut [u8]) -> Progress {
        let mut state = lock(&self.state);
        if state.owner != Owner::Loop {
            return Progress::Nothing;
        }
        let progress = self.read_once(&mut state, buffer, false);
        if progress == Progress::Ended {
            self.end(&mut state);
        }
        progress
    }

    /// Reads all that a dead process left in the pipe, in the loop, and ends. `most` bounds it: what
    /// still writes to the pipe is not the plugin.
    pub fn drain(&self, buffer: &mut [u8], most: usize) {
        let mut state = lock(&self.state);
        if state.owner != Owner::Loop {
            return;
        }
        state.left = Some(most);
        while !self.read_once(&mut state, buffer, false).is_last(&state) {}
        self.hand_on(&mut state, None, false);
        self.end(&mut state);
    }

    /// Reads to its end a pipe that blocks, in a thread of its own.
    pub fn read_to_end(&self) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // The lock is not held while it waits: whoever ends it needs it.
            let result = (&self.pipe).read(&mut buffer);
            let mut state = lock(&self.state);
            if state.owner == Owner::Nobody {
                return;
            }
            if self.take(&mut state, &buffer, result, true) == Progress::Ended {
                self.end(&mut state);
                return;
            }
            drop(state);
            if self.queue.stops(self.id) {
                self.queue.wait_for_room(self.id);
            }
        }
    }

    /// Ends it, whoever reads it, and forgets what waits.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.owner = Owner::Nobody;
        // Others may forward to the same target, and it is closed with the last of them.
        state.sink = Sink::Queue;
        drop(state);
        let mut state = lock(&self.queue.state);
        state.slots.remove(&self.id);
        state.turns.retain(|id| *id != self.id);
        self.queue.has_room.notify_all();
    }

    fn read_once(&self, state: &mut SourceState, buffer: &mut [u8], wakes: bool) -> Progress {
        let result = (&self.pipe).read(buffer);
        self.take(state, buffer, result, wakes)
    }

    fn take(
        &self,
        state: &mut SourceState,
        buffer: &[u8],
        result: io::Result<usize>,
        wakes: bool,
    ) -> Progress {
        match result {
            Ok(count @ 1..) => {
                self.hand_on(state, Some(buffer.get(..count).unwrap_or_default()), wakes);
                state.left = state.left.map(|left| left.saturating_sub(count));
                Progress::Read(count)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Progress::Read(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Nothing,
            Ok(0) | Err(_) => {
                self.hand_on(state, None, wakes);
                Progress::Ended
            }
        }
    }

    fn end(&self, state: &mut SourceState) {
        state.owner = Owner::Nobody;
        self.queue.tell(self.id, Event::Ended);
    }

    // Tells, once, that lines are lost.
    fn fail(&self, has_failed: &mut bool, error: io::Error) {
        if !std::mem::replace(has_failed, true) {
            self.queue.tell(self.id, Event::Failed(error));
        }
    }

    // Passes on what the next bytes say; None is the end of the stream.
    fn hand_on(&self, state: &mut SourceState, chunk: Option<&[u8]>, wakes: bool) {
        let least = usize::from(self.least.load(Ordering::Relaxed));
        let least = Level::ALL.get(least).copied().unwrap_or(Level::Off);
        let mut batch = Batch::default();
        let mut copy = self.has_copy.then(|| std::mem::take(&mut batch.copy));
        let SourceState { stream, sink, out, has_failed, .. } = state;
        match sink {
            Sink::Queue => {
                let size = chunk.map_or(0, <[u8]>::len);
                let mut each = |line: &[u8], record: Record<'_>| {
                    if batch.is_empty() {
                        batch.reserve(size);
                    }
                    batch.push(line, record);
                };
                match chunk {
                    Some(chunk) => stream.push(chunk, least, copy.as_mut(), &mut each),
                    None => stream.finish(least, copy.as_mut(), &mut each),
                }
            }
            Sink::Forward(encoder, target) => {
                let now = SystemTime::now();
                let mut each = |line: &[u8], record: Record<'_>| {
                    encoder.write(out, line, &record, now);
                };
                match chunk {
                    Some(chunk) => stream.push(chunk, least, copy.as_mut(), &mut each),
                    None => stream.finish(least, copy.as_mut(), &mut each),
                }
                if let Err(error) = lock(target).send(out) {
                    self.fail(has_failed, error);
                }
                out.clear();
            }
        }
        batch.copy = copy.unwrap_or_default();
        batch.trim();
        if self.is_looked_at || !batch.is_empty() || !batch.copy.is_empty() {
            self.queue.push(self.id, batch, wakes);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left half done is at worst a line; the rest of the log goes on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
