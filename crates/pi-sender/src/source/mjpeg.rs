//! Reads JPEGs from a stream of bytes: an MJPEG file, or the output of `rpicam-vid`.

use std::io::{self, Read};

use protocol::jpeg::Splitter;

/// Bytes that are read at once, as many as a pipe holds.
const READ_SIZE: usize = 64 << 10;

/// Reads whole JPEGs from a stream.
#[derive(Debug)]
pub(super) struct JpegSplitter<R> {
    input: R,
    splitter: Splitter,
    piece: Box<[u8]>,
}

impl<R: Read> JpegSplitter<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            splitter: Splitter::new(),
            piece: vec![0; READ_SIZE].into(),
        }
    }

    pub(super) fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Returns the next JPEG, from SOI to EOI; `None` at the end of the stream. A picture that is cut short is left out.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(jpeg) = self.splitter.next_picture() {
                return Ok(Some(jpeg));
            }
            match self.input.read(&mut self.piece) {
                Ok(0) => return Ok(None),
                Ok(read) => self.splitter.push(&self.piece[..read]),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
    }
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
        assert!(splitter.splitter.capacity() <= 3 * (32 << 20));
    }
}
