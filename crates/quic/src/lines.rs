//! Lines of JSON on a stream, of bounded length.

use bytes::BytesMut;
use protocol::quic::MAX_LINE;
use quinn::{ReadError, RecvStream};

use crate::shown;

/// Why no line follows.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The end of the stream.
    #[error("the stream has ended")]
    End,
    /// A line longer than [`MAX_LINE`].
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// A connection or a stream that is lost.
    #[error("{}", shown(.0))]
    Lost(ReadError),
}

// Not `#[from]`: that would make it the source too, whose text has the peer's close reason as it is.
impl From<ReadError> for LineError {
    fn from(end: ReadError) -> Self {
        Self::Lost(end)
    }
}

/// Reads a stream line by line.
#[derive(Debug)]
pub struct Lines {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Lines {
    /// Returns a reader of the whole stream.
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// Reads the next line, and returns it without its end. Cancel-safe.
    ///
    /// # Errors
    /// [`LineError`]; no line follows it.
    pub async fn next(&mut self) -> Result<BytesMut, LineError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(line);
            }
            if self.buffer.len() >= MAX_LINE {
                return Err(LineError::TooLong);
            }
            let room = MAX_LINE - self.buffer.len();
            let chunk = self
                .stream
                .read_chunk(room, true)
                .await?
                .ok_or(LineError::End)?;
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }
}
