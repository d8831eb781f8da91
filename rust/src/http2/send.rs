//! What goes to the peer, by the will of whoever uses the connection.

use super::connection::Connection;
use super::error::LocalError;
use super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADER_BYTES, HEADERS, Header, PING,
};
use super::stream::{Half, How, Stream};
use super::window::{MAX_WINDOW, ReceiveWindow, SendWindow};
use super::{Side, StreamId};

impl Connection {
    /// The id of the next stream, which the next headers on it open.
    ///
    /// # Errors
    ///
    /// Every id was used, or this is the server.
    pub fn next_stream_id(&self) -> Result<StreamId, LocalError> {
        self.next_id.ok_or(LocalError::IdsExhausted)
    }

    /// How much data can be sent on a stream now.
    ///
    /// # Errors
    ///
    /// The connection is over, the stream is gone, or our half of it is finished.
    pub fn send_window(&mut self, id: StreamId) -> Result<usize, LocalError> {
        let credit = self.credit.left();
        let stream = self.sender(id)?;
        Ok(stream.credit.left().min(credit) as usize)
    }

    /// Sends headers: those of a request, which open the next stream, those of an answer, or
    /// trailers, which end our half of the stream.
    ///
    /// # Errors
    ///
    /// The connection is over, the peer takes no more streams, the stream is gone, our half of it is
    /// finished, or trailers do not end it.
    pub fn send_headers<'a>(
        &mut self,
        id: StreamId,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        is_last: bool,
    ) -> Result<(), LocalError> {
        self.check()?;
        if self.next_id == Some(id) {
            self.open(id)?;
        }
        let stream = self.sender(id)?;
        if stream.sending == Half::Data && !is_last {
            return Err(LocalError::Order { stream: id });
        }
        stream.sending = Half::Data;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        self.encoder.encode(fields, &mut self.out);
        self.frame_block(start, id, if is_last { END_STREAM } else { 0 });
        if is_last {
            self.finish(id);
        }
        Ok(())
    }

    /// Sends as much of `data` as the windows allow, and says how much that was. All of it ends our
    /// half of the stream if it `is_last`.
    ///
    /// # Errors
    ///
    /// The connection is over, the stream is gone, our half of it is finished, or has not begun.
    pub fn send_data(
        &mut self,
        id: StreamId,
        data: &[u8],
        is_last: bool,
    ) -> Result<usize, LocalError> {
        let room = self.send_window(id)?;
        let frame_bytes = self.peer.frame_bytes as usize;
        let stream = self.sender(id)?;
        if stream.sending == Half::Headers {
            return Err(LocalError::Order { stream: id });
        }
        let (now, later) = data.split_at_checked(room).unwrap_or((data, &[]));
        let length = u32::try_from(now.len()).unwrap_or(MAX_WINDOW);
        stream.credit.take(length);
        self.credit.take(length);
        let mut chunks = now.chunks(frame_bytes).peekable();
        let is_last = is_last && later.is_empty();
        if now.is_empty() && is_last {
            self.write(DATA, END_STREAM, id, &[]);
        }
        while let Some(chunk) = chunks.next() {
            let flags = if is_last && chunks.peek().is_none() { END_STREAM } else { 0 };
            self.write(DATA, flags, id, chunk);
        }
        if is_last {
            self.finish(id);
        }
        Ok(now.len())
    }

    /// Drops a stream.
    ///
    /// # Errors
    ///
    /// The connection is over, or the stream is gone.
    pub fn reset(&mut self, id: StreamId, code: u32) -> Result<(), LocalError> {
        self.check()?;
        if !self.streams.contains_key(&id) {
            return Err(LocalError::NoStream { stream: id });
        }
        self.remove(id, How::ResetByUs);
        self.write_reset(id, code);
        Ok(())
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub fn ping(&mut self, payload: [u8; 8]) -> Result<(), LocalError> {
        self.check()?;
        self.write(PING, 0, 0, &payload);
        Ok(())
    }

    fn open(&mut self, id: StreamId) -> Result<(), LocalError> {
        if self.is_refused {
            return Err(LocalError::GoingAway);
        }
        let limit = self.peer.max_streams;
        if self.streams.len() >= limit as usize {
            return Err(LocalError::TooManyStreams { limit });
        }
        self.next_id = id.checked_add(2).filter(|next| *next <= MAX_WINDOW);
        self.insert(id);
        Ok(())
    }

    pub(super) fn insert(&mut self, id: StreamId) -> &mut Stream {
        let is_client = self.side == Side::Client;
        self.streams.entry(id).or_insert(Stream {
            sending: Half::Headers,
            receiving: if is_client { Half::Headers } else { Half::Data },
            credit: SendWindow::new(self.peer.window),
            window: ReceiveWindow::new(self.config.stream_window),
            missing: None,
        })
    }

    fn sender(&mut self, id: StreamId) -> Result<&mut Stream, LocalError> {
        self.check()?;
        let stream = self.streams.get_mut(&id).ok_or(LocalError::NoStream { stream: id })?;
        if stream.sending == Half::Ended {
            return Err(LocalError::Finished { stream: id });
        }
        Ok(stream)
    }

    // Our half of a stream is over.
    fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.sending = Half::Ended;
            if stream.receiving == Half::Ended {
                self.remove(id, How::Ended);
            }
        }
    }

    // Makes frames of the header block that is at the end of what is sent, behind room for a header.
    fn frame_block(&mut self, start: usize, stream: StreamId, flags: u8) {
        let block = start.saturating_add(HEADER_BYTES);
        let most = self.peer.frame_bytes as usize;
        let length = self.out.len().saturating_sub(block);
        let mut rest = Vec::new();
        if length > most {
            rest = self.out.split_off(block.saturating_add(most));
        }
        let flags = if rest.is_empty() { flags | END_HEADERS } else { flags };
        let length = u32::try_from(length.min(most)).unwrap_or(0);
        let header = Header { length, kind: HEADERS, flags, stream }.encode();
        if let Some(room) = self.out.get_mut(start..block) {
            room.copy_from_slice(&header);
        }
        let mut chunks = rest.chunks(most).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { END_HEADERS } else { 0 };
            self.write(CONTINUATION, flags, stream, chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::Config;

    #[test]
    fn the_ids_end() {
        let mut client = Connection::new(Side::Client, Config::default());
        client.next_id = Some(MAX_WINDOW);
        assert_eq!(client.send_headers(MAX_WINDOW, [], false), Ok(()));
        assert_eq!(client.next_stream_id(), Err(LocalError::IdsExhausted));
        assert!(!client.is_idle(MAX_WINDOW));
    }
}
