//! The thread of the pump.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::{
    Arc, Event, Mutex, Owner, Progress, READ_BYTES, Sink, Source, SourceId, SourceState, Target,
    io, lock,
};

// A source of which less than QUIET_BYTES come within QUIET_TIME is given back to its loop.
const QUIET_TIME: Duration = Duration::from_millis(10);
const QUIET_BYTES: usize = 16 * 1024;

// Sources count from 0; a target is its descriptor beyond this.
const FIRST_TARGET: usize = usize::MAX / 2;
const WAKE: Token = Token(usize::MAX);

/// The one thread that reads for all loops of a process, started by the first source it is given.
pub struct Reader {
    registry: Registry,
    waker: Waker,
    shared: Arc<Shared>,
    thread: Mutex<Thread>,
}

enum Thread {
    // None after it could not be started.
    Waiting(Option<Poll>),
    Running(JoinHandle<()>),
    Over,
}

#[derive(Default)]
struct Shared {
    state: Mutex<SharedState>,
}

#[derive(Default)]
struct SharedState {
    sources: BTreeMap<SourceId, Arc<Source>>,
    // Targets that could not be written to, and who waits for each.
    blocked: BTreeMap<usize, Blocked>,
    // Sources to look at though nothing may have come.
    nudged: Vec<SourceId>,
    is_over: bool,
}

struct Blocked {
    target: Arc<Mutex<Target>>,
    sources: Vec<SourceId>,
}

impl Reader {
    /// A reader whose thread does not run yet.
    ///
    /// # Errors
    /// The system refuses what it needs: descriptors, mostly.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKE)?;
        let thread = Mutex::new(Thread::Waiting(Some(poll)));
        Ok(Self { registry, waker, shared: Arc::default(), thread })
    }

    /// Has the thread read `source` from now on.
    ///
    /// # Errors
    /// The system refuses to watch its pipe, or to start a thread.
    pub fn hand_over(&self, source: &Arc<Source>) -> io::Result<()> {
        self.start()?;
        let mut state = lock(&source.state);
        if state.owner == Owner::Nobody {
            return Ok(());
        }
        lock(&self.shared.state).sources.insert(source.id, Arc::clone(source));
        let pipe = source.pipe.as_raw_fd();
        self.registry.register(&mut SourceFd(&pipe), Token(source.id), Interest::READABLE)?;
        state.owner = Owner::Thread;
        state.recent = 0;
        // It may be asleep without a limit.
        self.waker.wake()
    }

    /// Has the thread go on with a source that stopped.
    ///
    /// # Errors
    /// The system refuses.
    pub fn restart(&self, source: &Source) -> io::Result<()> {
        lock(&self.shared.state).nudged.push(source.id);
        self.waker.wake()
    }

    /// The process of `source` has ended: the thread reads what is left, `most` bytes of it, and ends.
    ///
    /// Returns whether the thread has it; the loop ends it otherwise.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish(&self, source: &Source, most: usize) -> io::Result<bool> {
        let mut state = lock(&source.state);
        if state.owner != Owner::Thread {
            return Ok(false);
        }
        state.left = Some(most);
        drop(state);
        self.restart(source)?;
        Ok(true)
    }

    /// Forgets a source, whoever reads it.
    pub fn close(&self, source: &Source) {
        let was_here = lock(&source.state).owner == Owner::Thread;
        source.close();
        if was_here {
            drop(self.registry.deregister(&mut SourceFd(&source.pipe.as_raw_fd())));
        }
        let mut state = lock(&self.shared.state);
        state.sources.remove(&source.id);
        // Nor does it hold a target that nobody reads.
        state.blocked.retain(|_, blocked| {
            blocked.sources.retain(|id| *id != source.id);
            let is_wanted = !blocked.sources.is_empty();
            if !is_wanted {
                let file = lock(&blocked.target).file().as_raw_fd();
                drop(self.registry.deregister(&mut SourceFd(&file)));
            }
            is_wanted
        });
    }

    /// Ends the thread; it is gone when this returns.
    pub fn end(&self) {
        lock(&self.shared.state).is_over = true;
        drop(self.waker.wake());
        let thread = std::mem::replace(&mut *lock(&self.thread), Thread::Over);
        if let Thread::Running(thread) = thread {
            drop(thread.join());
        }
    }

    fn start(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        let Thread::Waiting(poll) = &mut *thread else { return Ok(()) };
        let worker = Worker {
            poll: poll.take().ok_or(io::ErrorKind::BrokenPipe)?,
            registry: self.registry.try_clone()?,
            shared: Arc::clone(&self.shared),
        };
        let builder = std::thread::Builder::new().name("pyplugin-logs".into());
        *thread = Thread::Running(builder.spawn(move || worker.run())?);
        Ok(())
    }
}

fn arm(registry: &Registry, source: &Source) -> io::Result<()> {
    let pipe = source.pipe.as_raw_fd();
    registry.reregister(&mut SourceFd(&pipe), Token(source.id), Interest::READABLE)
}

struct Worker {
    poll: Poll,
    registry: Registry,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; READ_BYTES];
        let mut next_look: Option<Instant> = None;
        loop {
            let wait = next_look.map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            for event in &events {
                self.serve(event.token(), &mut buffer);
            }
            if lock(&self.shared.state).is_over {
                return;
            }
            let now = Instant::now();
            let is_due = next_look.is_some_and(|at| at <= now);
            // Something came, or was handed over: it is looked at for a while first.
            if next_look.is_none() || (is_due && self.give_back()) {
                next_look = now.checked_add(QUIET_TIME);
            } else if is_due {
                next_look = None;
            }
        }
    }

    fn serve(&self, token: Token, buffer: &mut [u8]) {
        if token == WAKE {
            let nudged = std::mem::take(&mut lock(&self.shared.state).nudged);
            self.read_all(&nudged, buffer);
        } else if token.0 < FIRST_TARGET {
            self.read_all(&[token.0], buffer);
        } else {
            let released = self.flush(token.0);
            self.read_all(&released, buffer);
        }
    }

    fn read_all(&self, sources: &[SourceId], buffer: &mut [u8]) {
        for id in sources {
            let source = lock(&self.shared.state).sources.get(id).map(Arc::clone);
            let Some(source) = source else { continue };
            let mut state = lock(&source.state);
            // It may have been taken away since.
            if state.owner == Owner::Thread {
                self.read(&source, &mut state, buffer);
            }
        }
    }

    fn read(&self, source: &Arc<Source>, state: &mut SourceState, buffer: &mut [u8]) {
        let target = match &state.sink {
            Sink::Forward(_, target) => Some(Arc::clone(target)),
            Sink::Queue => None,
        };
        if let Some(target) = &target
            && !lock(target).is_idle()
        {
            self.wait_for(target, source.id);
            return;
        }
        while state.left != Some(0) {
            // Forwarded lines do not wait, but a copy of them may.
            if source.queue.stops(source.id) {
                return;
            }
            let progress = source.read_once(state, buffer, true);
            if let Progress::Read(count) = progress {
                state.recent = state.recent.saturating_add(count);
            }
            if progress.is_last(state) {
                source.hand_on(state, None, true);
                state.left = Some(0);
            }
            if let Some(target) = &target
                && !lock(target).is_idle()
            {
                self.wait_for(target, source.id);
                return;
            }
            if state.left.is_none() {
                if progress != Progress::Nothing {
                    drop(arm(&self.registry, source));
                }
                return;
            }
        }
        source.end(state);
        self.forget(source);
    }

    fn forget(&self, source: &Source) {
        drop(self.registry.deregister(&mut SourceFd(&source.pipe.as_raw_fd())));
        lock(&self.shared.state).sources.remove(&source.id);
    }

    // Has `source` wait until `target` can be written to.
    fn wait_for(&self, target: &Arc<Mutex<Target>>, source: SourceId) {
        let mut state = lock(&self.shared.state);
        let file = lock(target).file().as_raw_fd();
        let id = FIRST_TARGET.saturating_add(usize::try_from(file).unwrap_or(0));
        let blocked = state.blocked.entry(id).or_insert_with(|| {
            drop(self.registry.register(&mut SourceFd(&file), Token(id), Interest::WRITABLE));
            Blocked { target: Arc::clone(target), sources: Vec::new() }
        });
        if !blocked.sources.contains(&source) {
            blocked.sources.push(source);
        }
    }

    // A target can be written to. Returns who waited for that.
    fn flush(&self, id: usize) -> Vec<SourceId> {
        let mut state = lock(&self.shared.state);
        let Some(blocked) = state.blocked.remove(&id) else { return Vec::new() };
        let mut target = lock(&blocked.target);
        let file = target.file().as_raw_fd();
        let result = target.flush();
        if result.is_ok() && !target.is_idle() {
            drop(target);
            drop(self.registry.reregister(&mut SourceFd(&file), Token(id), Interest::WRITABLE));
            state.blocked.insert(id, blocked);
            return Vec::new();
        }
        drop(self.registry.deregister(&mut SourceFd(&file)));
        drop(target);
        drop(state);
        if let Err(error) = result {
            self.fail_all(&blocked.sources, &error);
        }
        blocked.sources
    }

    // What these had kept for their target is lost.
    fn fail_all(&self, sources: &[SourceId], error: &io::Error) {
        for id in sources {
            let source = lock(&self.shared.state).sources.get(id).map(Arc::clone);
            let Some(source) = source else { continue };
            let error =
                error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error);
            source.fail(&mut lock(&source.state).has_failed, error);
        }
    }

    // Gives back what has become quiet. Returns whether anything is left that may.
    fn give_back(&self) -> bool {
        let sources: Vec<_> = lock(&self.shared.state).sources.values().map(Arc::clone).collect();
        let mut is_any_left = false;
        for source in sources {
            let mut state = lock(&source.state);
            if state.owner != Owner::Thread || !matches!(state.sink, Sink::Queue) {
                continue;
            }
            let recent = std::mem::take(&mut state.recent);
            if recent < QUIET_BYTES && state.left.is_none() && !source.queue.stops(source.id) {
                self.forget(&source);
                state.owner = Owner::Loop;
                source.queue.tell(source.id, Event::Returned);
            } else {
                is_any_left = true;
            }
        }
        is_any_left
    }
}
