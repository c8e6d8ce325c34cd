//! Lines of JSON on a stream, never longer than they may be.

use bytes::BytesMut;
use protocol::quic::MAX_LINE;
use quinn::{ReadError, RecvStream};

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream has ended.
    #[error("the stream has ended")]
    End,
    /// The line is longer than [`MAX_LINE`].
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The connection or the stream is gone.
    #[error("{0}")]
    Lost(#[from] ReadError),
}

/// The lines of a stream.
#[derive(Debug)]
pub struct Lines {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Lines {
    /// All that the stream holds.
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next line without its end. Nothing is lost where this is cancelled.
    ///
    /// # Errors
    /// [`NoLine`]; there will be none after it.
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
