//! Credit, one direction of a stream each.

/// What either side may send before it is told of more (`initialStreamWindow`).
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// What we may send.
#[derive(Debug)]
pub(super) struct SendWindow(u32);

impl SendWindow {
    pub(super) fn new() -> Self {
        Self(INITIAL_WINDOW)
    }

    pub(super) fn left(&self) -> u32 {
        self.0
    }

    /// Takes as much of `wanted` as there is.
    pub(super) fn take(&mut self, wanted: u32) -> u32 {
        let taken = wanted.min(self.0);
        self.0 = self.0.saturating_sub(taken);
        taken
    }

    /// The peer allows `more`; or `None` when that has no number.
    pub(super) fn grow(&mut self, more: u32) -> Option<()> {
        self.0 = self.0.checked_add(more)?;
        Some(())
    }
}

/// What the peer may send: always `limit` less what it was not told of.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    // What the peer may send now.
    left: u32,
    // What came and was not consumed.
    held: u32,
}

impl ReceiveWindow {
    pub(super) fn new() -> Self {
        Self { left: INITIAL_WINDOW, held: 0 }
    }

    pub(super) fn left(&self) -> u32 {
        self.left
    }

    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// The peer sends `length`; or `None` when it may not.
    pub(super) fn admit(&mut self, length: u32) -> Option<()> {
        self.left = self.left.checked_sub(length)?;
        self.held = self.held.saturating_add(length);
        Some(())
    }

    /// The reader took `length`; or `None` when there is not as much.
    pub(super) fn consume(&mut self, length: u32) -> Option<()> {
        self.held = self.held.checked_sub(length)?;
        Some(())
    }

    /// Whether it is time to tell the peer of more: at half the window, as Go does.
    pub(super) fn is_due(&self, limit: u32) -> bool {
        self.missing(limit) >= limit.div_euclid(2)
    }

    /// What the peer is to be told of, and from now on may send.
    pub(super) fn grant(&mut self, limit: u32) -> u32 {
        let missing = self.missing(limit);
        self.left = self.left.saturating_add(missing);
        missing
    }

    fn missing(&self, limit: u32) -> u32 {
        limit.saturating_sub(self.held).saturating_sub(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_due_when_half_the_window_was_consumed() {
        let mut window = ReceiveWindow::new();
        assert_eq!(window.admit(INITIAL_WINDOW), Some(()));
        assert_eq!(window.admit(1), None);
        assert_eq!(window.consume(INITIAL_WINDOW / 2 - 1), Some(()));
        assert!(!window.is_due(INITIAL_WINDOW));
        assert_eq!(window.consume(1), Some(()));
        assert!(window.is_due(INITIAL_WINDOW));
        assert_eq!(window.grant(INITIAL_WINDOW), INITIAL_WINDOW / 2);
        assert!(!window.is_due(INITIAL_WINDOW));
        assert_eq!(window.consume(INITIAL_WINDOW), None);
    }

    #[test]
    fn a_send_window_cannot_pass_32_bits() {
        let mut window = SendWindow::new();
        assert_eq!(window.grow(u32::MAX), None);
        assert_eq!(window.grow(u32::MAX - INITIAL_WINDOW), Some(()));
        assert_eq!((window.take(u32::MAX), window.take(1)), (u32::MAX, 0));
    }
}
