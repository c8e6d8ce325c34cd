//! Cuts a stream of bytes into JPEGs: an MJPEG file, or the output of `rpicam-vid`.
//!
//! It follows the marker structure, so a thumbnail inside a picture does not end it, and the bytes that come out are the
//! bytes that went in. Bytes between pictures are left out, and the memory is bounded for every input.

use std::io::{self, Read};

use protocol::jpeg::{self, EOI, SOI};

/// Largest picture (bytes), more than any camera writes: a stream that never ends a picture must not fill the memory.
const MAX_PICTURE: usize = 32 << 20;
/// Bytes that are read at once, as many as a pipe holds.
const READ_SIZE: usize = 64 << 10;

/// Reads whole JPEGs from a stream.
#[derive(Debug)]
pub(super) struct JpegSplitter<R> {
    input: R,
    buffer: Vec<u8>,
    consumed: usize,
    /// Whether the last bytes read contain an EOI; without one another walk would find nothing new.
    may_hold_end: bool,
}

impl<R: Read> JpegSplitter<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            consumed: 0,
            may_hold_end: false,
        }
    }

    /// Returns the next JPEG, from SOI to EOI; `None` at the end of the stream. A picture that is cut short is left out.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.may_hold_end
                && let Some(jpeg) = self.cut()
            {
                return Ok(Some(jpeg));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns the next JPEG that is whole in the buffer.
    fn cut(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = &self.buffer[self.consumed..];
            match jpeg::stream_end(rest) {
                Ok(Some(end)) => {
                    let jpeg = rest[..end].to_vec();
                    self.consumed += end;
                    return Some(jpeg);
                }
                Ok(None) if rest.len() <= MAX_PICTURE => return None,
                // Junk, or a picture without an end: go on at what looks like the next one.
                _ => match next_start(rest) {
                    Some(at) => self.consumed += at,
                    None => {
                        // The last two bytes may be the start of the three that begin a picture.
                        self.consumed = self.buffer.len().saturating_sub(2).max(self.consumed);
                        return None;
                    }
                },
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + READ_SIZE, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[before..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer
            .truncate(before + read.as_ref().map_or(0, |n| *n));
        let fresh = &self.buffer[before.saturating_sub(1)..];
        self.may_hold_end =
            self.buffer.len() > MAX_PICTURE || fresh.windows(2).any(|pair| pair == EOI);
        read
    }
}

/// Returns the index of the next `FF D8 FF` behind the first byte.
fn next_start(bytes: &[u8]) -> Option<usize> {
    let start = [SOI[0], SOI[1], 0xFF];
    let found = bytes.get(1..)?.windows(3).position(|w| w == start)?;
    Some(found + 1)
}

#[cfg(test)]
mod tests {
    use testkit::jpeg::Sketch;

    use super::*;

    /// Gives out at most `step` bytes at once, as a pipe may.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let end = self.1.min(buf.len());
            self.0.read(&mut buf[..end])
        }
    }

    fn split(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut splitter = JpegSplitter::new(Drip(stream, step));
        std::iter::from_fn(|| splitter.next().unwrap()).collect()
    }

    fn pictures() -> Vec<Vec<u8>> {
        let thumbnail = Sketch::new(16, 16).bytes();
        vec![
            Sketch::new(300, 200).bytes(),
            Sketch::new(300, 200).segment(0xE1, &thumbnail).bytes(),
            Sketch::new(640, 480).scans(9).fill_bytes(2).bytes(),
        ]
    }

    #[test]
    fn every_picture_comes_out_as_it_went_in_whatever_the_pieces() {
        let stream = pictures().concat();
        for step in [1, 2, 3, 7, 100, 100_000] {
            assert_eq!(split(&stream, step), pictures(), "{step} bytes a read");
        }
    }

    #[test]
    fn junk_and_padding_between_pictures_are_left_out() {
        let junk: [&[u8]; 5] = [
            b"",
            b"\0\0\0",
            b"--boundary\r\n\r\n",
            &[0xFF],
            &[0xFF, 0xD8, 0x00],
        ];
        for junk in junk {
            let stream: Vec<u8> = pictures()
                .iter()
                .flat_map(|jpeg| [junk, jpeg].concat())
                .collect();
            for step in [1, 5, 100_000] {
                assert_eq!(split(&stream, step), pictures(), "{junk:?}");
            }
        }
    }

    #[test]
    fn a_picture_that_is_cut_costs_no_other() {
        let whole = pictures();
        let cut = &whole[0][..whole[0].len() - 4];
        let stream = [&whole[0][..], cut, &whole[1], cut].concat();
        assert_eq!(split(&stream, 10), [whole[0].clone(), whole[1].clone()]);
    }

    #[test]
    fn a_picture_without_an_end_does_not_fill_the_memory() {
        let mut endless = Sketch::new(300, 200).bytes();
        endless.truncate(endless.len() - 2);
        let stream = endless.as_slice().chain(io::repeat(7)).take(80 << 20);
        let mut splitter = JpegSplitter::new(stream);
        assert!(splitter.next().unwrap().is_none());
        assert!(splitter.buffer.capacity() <= 3 * MAX_PICTURE);
    }
}
