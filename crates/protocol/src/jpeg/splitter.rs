//! Cuts a stream of bytes, which comes in pieces, into JPEGs.

use memchr::memchr;

use super::SOI;
use super::walk::{Step, Walk};

/// Largest picture (bytes), more than any camera writes: a stream that never ends a picture must not fill the memory.
const MAX_PICTURE: usize = 32 << 20;
/// Bytes looked at for each byte received, beyond which a broken picture is left out as a whole. A cut picture may have
/// swallowed the start of the next one, so it is read again from there; a stream may contain a start in every third byte.
const REREADS: u64 = 4;
/// Bytes looked at from which on [`REREADS`] counts.
const FREE_REREADS: u64 = 1 << 20;

/// Finds the JPEGs in a stream: an MJPEG file, or the output of a camera program.
///
/// It follows the marker structure, so a thumbnail inside a picture does not end it, and the bytes that come out are the
/// bytes that went in. Bytes between pictures are left out. Memory is bounded and work is linear for every stream: the walk
/// goes on where the last bytes ended.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Start of what is not consumed: of the picture, while there is a walk.
    start: usize,
    /// Position in the picture that begins at `start`; `None` where no start has been found.
    walk: Option<Walk>,
    received: u64,
    /// Bytes that finished walks, searches and moves have looked at.
    visited: u64,
}

impl Splitter {
    /// Returns a splitter at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream. Call [`Splitter::next_picture`] until it returns `None` before the next piece,
    /// since it is what frees the memory.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.visited += (self.buffer.len() - self.start) as u64;
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.received += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole JPEG, from SOI to EOI; `None` if its end has not come yet. A picture that is broken or cut
    /// short is left out.
    pub fn next_picture(&mut self) -> Option<Vec<u8>> {
        while let Some(mut walk) = self.walk.take().or_else(|| self.find_start()) {
            let picture = &self.buffer[self.start..];
            match walk.step(picture) {
                Step::Segment { .. } => self.walk = Some(walk),
                Step::End(end) => {
                    let jpeg = picture[..end].to_vec();
                    self.leave(&walk, end);
                    return Some(jpeg);
                }
                Step::Cut if picture.len() <= MAX_PICTURE => {
                    self.walk = Some(walk);
                    return None;
                }
                Step::Cut => self.give_up(&walk, picture.len()),
                Step::SecondStart(at) | Step::BadLength(at) => self.give_up(&walk, at),
            }
        }
        None
    }

    /// Returns whether the start of a picture has come and its end has not.
    pub fn is_inside(&self) -> bool {
        self.walk.is_some()
    }

    /// Returns the count of bytes looked at, which tests hold against the count of bytes received.
    pub fn visited(&self) -> u64 {
        self.visited + self.walk.as_ref().map_or(0, Walk::visited)
    }

    /// Returns the bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Leaves a picture that has no end, `known` bytes of which were walked over.
    fn give_up(&mut self, walk: &Walk, known: usize) {
        let allowed = FREE_REREADS + REREADS * self.received;
        let again = self.visited + walk.visited() <= allowed;
        self.leave(walk, if again { 1 } else { known.max(1) });
    }

    fn leave(&mut self, walk: &Walk, length: usize) {
        self.visited += walk.visited();
        self.start += length;
    }

    /// Drops what is in front of the next `FF D8 FF`, and returns a walk from there.
    fn find_start(&mut self) -> Option<Walk> {
        let begin = [SOI[0], SOI[1], 0xFF];
        let from = self.start;
        let found = loop {
            let rest = &self.buffer[self.start..];
            let Some(at) = memchr(begin[0], rest) else {
                self.start = self.buffer.len();
                break None;
            };
            self.start += at;
            let rest = &rest[at..];
            match rest.get(..begin.len()) {
                Some(three) if three == begin => break Some(Walk::behind_soi()),
                // Two bytes or one, which may be the start of the three.
                None if begin.starts_with(rest) => break None,
                _ => self.start += 1,
            }
        };
        self.visited += (self.start - from + begin.len()) as u64;
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testkit::jpeg::{Sketch, bombs};

    use super::*;

    /// Pushes a stream in pieces, and returns its pictures and the splitter.
    fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Splitter) {
        let mut splitter = Splitter::new();
        let mut pictures = Vec::new();
        for piece in stream.chunks(piece) {
            splitter.push(piece);
            pictures.extend(std::iter::from_fn(|| splitter.next_picture()));
        }
        (pictures, splitter)
    }

    fn without_end(mut jpeg: Vec<u8>) -> Vec<u8> {
        jpeg.truncate(jpeg.len() - 2);
        jpeg
    }

    /// Streams of about 2 MB on which a splitter that starts over would work for minutes, each with a name.
    fn hostile() -> Vec<(&'static str, Vec<u8>)> {
        let open = without_end(Sketch::new(300, 200).bytes());
        let endless =
            |filling: &[u8]| [&open[..], &filling.repeat(2_000_000 / filling.len())].concat();
        // Each start leaps to the same place, from which a megabyte leads to a broken length.
        let starts = 5_000;
        let leaps = (0..starts).flat_map(|n| {
            let [hi, lo] = (6 * (starts - n) - 4_u16).to_be_bytes();
            [0xFF, 0xD8, 0xFF, 0xE0, hi, lo]
        });
        let leaps = leaps
            .chain(std::iter::repeat_n(7, 1_000_000))
            .chain([0xFF, 0xE0, 0, 0])
            .collect();
        vec![
            ("no marker", endless(&[7])),
            ("ends in segments", endless(&[0xFF, 0xE1, 0, 4, 0xFF, 0xD9])),
            ("stuffed zeros", endless(&[0xFF, 0])),
            ("fill bytes", endless(&[0xFF])),
            ("segments", endless(&[0xFF, 0xE1, 0, 2])),
            ("starts", [0xFF, 0xD8].repeat(1_000_000)),
            (
                "starts of segments",
                [0xFF, 0xD8, 0xFF, 0xE0, 0, 40].repeat(300_000),
            ),
            ("halves of starts", [0xFF, 0xD8, 7].repeat(600_000)),
            ("leaps", leaps),
            (
                "cut pictures",
                without_end(bombs::flat(300, 200)).repeat(5_000),
            ),
        ]
    }

    #[test]
    fn hostile_streams_cost_a_few_looks_at_each_byte() {
        for (name, stream) in hostile() {
            for piece in [64, 65_536, stream.len()] {
                let (_, splitter) = split(&stream, piece);
                let (visited, length) = (splitter.visited(), stream.len() as u64);
                assert!(
                    visited <= (REREADS + 4) * length,
                    "{name} in pieces of {piece}: {visited} looks at {length} bytes"
                );
            }
        }
    }

    #[test]
    fn a_stream_byte_by_byte_costs_little_more() {
        for (name, stream) in hostile() {
            let stream = &stream[..100_000];
            let (visited, length) = (split(stream, 1).1.visited(), stream.len() as u64);
            assert!(
                visited <= FREE_REREADS + (REREADS + 8) * length,
                "{name}: {visited}"
            );
        }
    }

    #[test]
    fn a_picture_whose_start_a_cut_one_swallowed_comes_out() {
        // The cut one's segment ends inside the next one's, in front of its thumbnail.
        let cut = Sketch::new(300, 200).segment(0xE1, &[7; 500]).bytes();
        let exif = [&[7; 600][..], &Sketch::new(16, 16).bytes()].concat();
        let whole = Sketch::new(300, 200).segment(0xE1, &exif).bytes();
        let stream = [&cut[..50], &whole, &whole].concat();
        for piece in [1, 64, 10_000] {
            assert_eq!(split(&stream, piece).0, [&whole[..], &whole], "{piece}");
        }
    }

    #[test]
    fn memory_is_bounded_also_where_reads_are_large() {
        let endless = [without_end(Sketch::new(8, 8).bytes()), vec![7; 1 << 20]].concat();
        let mut splitter = Splitter::new();
        splitter.push(&endless);
        for _ in 0..100 {
            assert_eq!(splitter.next_picture(), None);
            splitter.push(&[7; 1 << 20]);
        }
        assert!(splitter.capacity() <= 3 * MAX_PICTURE);
    }

    proptest! {
        #[test]
        fn pictures_do_not_depend_on_the_pieces(
            bytes in prop::collection::vec(prop::sample::select(vec![0xFF, 0xD8, 0xD9, 0xE0, 0xDA, 0, 3, 9]), 0..600),
            piece in 1usize..20,
        ) {
            let whole = split(&bytes, bytes.len().max(1)).0;
            prop_assert_eq!(split(&bytes, piece).0, whole);
        }
    }
}
