//! Credit, one direction of a stream or of the connection each (RFC 9113 §5.2).

/// What either side may send before anything else is agreed.
pub const INITIAL_WINDOW: u32 = 65_535;
/// The largest window.
pub const MAX_WINDOW: u32 = (1 << 31) - 1;

/// What we may send; less than nothing where the peer takes back what it had allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendWindow(i32);

impl SendWindow {
    pub(super) fn new(size: u32) -> Self {
        Self(i32::try_from(size).unwrap_or(i32::MAX))
    }

    pub(super) fn left(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }

    pub(super) fn take(&mut self, length: u32) {
        self.0 = self.0.saturating_sub(i32::try_from(length).unwrap_or(i32::MAX));
    }

    /// The peer allows more, or less; `None` when that has no number. Else whether it is the first
    /// that may be sent.
    pub(super) fn grow(&mut self, by: i64) -> Option<bool> {
        let was_shut = self.0 <= 0;
        self.0 = i64::from(self.0).checked_add(by)?.try_into().ok()?;
        Some(was_shut && self.0 > 0)
    }
}

/// What the peer may send: always `limit` less what it was not told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiveWindow {
    limit: u32,
    // What the peer may send now.
    left: u32,
    // What came and was not acknowledged.
    held: u32,
}

impl ReceiveWindow {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, left: limit, held: 0 }
    }

    /// The peer sends `length`; or `None` when it may not.
    pub(super) fn admit(&mut self, length: u32) -> Option<()> {
        self.left = self.left.checked_sub(length)?;
        self.held = self.held.saturating_add(length);
        Some(())
    }

    /// So much was read. `None` when there is not as much; else what the peer is to be told of, which
    /// is nothing until it is half the window.
    pub(super) fn acknowledge(&mut self, length: u32) -> Option<u32> {
        self.held = self.held.checked_sub(length)?;
        let missing = self.limit.saturating_sub(self.left).saturating_sub(self.held);
        if missing == 0 || missing < self.limit.div_euclid(2) {
            return Some(0);
        }
        self.left = self.left.saturating_add(missing);
        Some(missing)
    }
}
