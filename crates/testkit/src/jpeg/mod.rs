//! JPEG fixtures: sketches with a true marker structure for tests that decode nothing, and whole pictures of exactly so many
//! bytes for measurements that decode.

pub mod bombs;

use std::iter;

/// A JPEG's marker structure, built piece by piece.
#[derive(Debug, Clone)]
pub struct Sketch {
    width: u16,
    height: u16,
    segments: Vec<u8>,
    fill: usize,
    scans: usize,
}

impl Sketch {
    /// Returns a structure whose frame header declares this size in pixels.
    pub fn new(width: u16, height: u16) -> Self {
        Self {
            width,
            height,
            segments: Vec::new(),
            fill: 0,
            scans: 1,
        }
    }

    /// Adds a segment in front of the frame header; `body` is at most 65 533 bytes.
    #[must_use]
    pub fn segment(mut self, marker: u8, body: &[u8]) -> Self {
        self.segments.extend(segment(marker, body));
        self
    }

    /// Sets the number of fill bytes in front of the frame header's marker.
    #[must_use]
    pub fn fill_bytes(mut self, count: usize) -> Self {
        self.fill = count;
        self
    }

    /// Sets the number of scans behind the frame header.
    #[must_use]
    pub fn scans(mut self, count: usize) -> Self {
        self.scans = count;
        self
    }

    /// Returns the bytes, from SOI to EOI.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xFF, 0xD8];
        out.extend(&self.segments);
        out.extend(vec![0xFF; self.fill]);
        out.extend([0xFF, 0xC0, 0, 11, 8]);
        out.extend(self.height.to_be_bytes());
        out.extend(self.width.to_be_bytes());
        out.extend([1, 1, 0x11, 0]);
        for scan in 0..self.scans {
            out.extend([0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
            // entropy-coded data with a stuffed zero and a restart marker
            out.extend([0x12, 0xFF, 0x00, scan as u8 & 0x7F, 0xFF, 0xD0, 0x34]);
        }
        out.extend([0xFF, 0xD9]);
        out
    }
}

/// Returns a baseline JPEG of exactly `bytes` bytes that every decoder accepts: grey tiles of 8x8 that differ from seed to
/// seed, and a comment that fills it up. It is cheap to decode however large it is.
///
/// # Panics
/// If the picture alone (a tenth of a byte a pixel at most) is larger, or the comment would be above 65 kB.
pub fn mosaic(width: u16, height: u16, seed: u64, bytes: usize) -> Vec<u8> {
    let tiles = usize::from(width.div_ceil(8)) * usize::from(height.div_ceil(8));
    let picture = [
        segment(0xDB, &[&[0][..], &[8; 64]].concat()),
        segment(0xC0, &frame_header(width, height)),
        segment(0xC4, &huffman_table(0x00, &DC_LENGTHS, &DC_CATEGORIES)),
        segment(0xC4, &huffman_table(0x10, &[1], &[END_OF_BLOCK])),
        segment(0xDA, &[1, 1, 0, 0, 63, 0]),
        tiled(tiles, seed),
        vec![0xFF, 0xD9],
    ]
    .concat();
    // SOI, and the comment's own marker and length
    let filler = bytes.checked_sub(picture.len() + 2 + 4);
    let filler = vec![b'.'; filler.expect("the picture fits into so many bytes")];
    [vec![0xFF, 0xD8], segment(0xFE, &filler), picture].concat()
}

/// Codes of each length from 1 on for the categories of DC differences: ITU-T T.81, table K.3.
const DC_LENGTHS: [u8; 9] = [0, 1, 5, 1, 1, 1, 1, 1, 1];
const DC_CATEGORIES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
/// The only symbol behind a DC difference here, coded as one zero bit.
const END_OF_BLOCK: u8 = 0;

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).expect("a segment holds at most 65 533 bytes");
    [&[0xFF, marker], &length.to_be_bytes()[..], body].concat()
}

/// 8 bits, one component without subsampling.
fn frame_header(width: u16, height: u16) -> Vec<u8> {
    let [h1, h0] = height.to_be_bytes();
    let [w1, w0] = width.to_be_bytes();
    vec![8, h1, h0, w1, w0, 1, 1, 0x11, 0]
}

fn huffman_table(place: u8, lengths: &[u8], symbols: &[u8]) -> Vec<u8> {
    let lengths = lengths.iter().copied().chain(iter::repeat(0)).take(16);
    iter::once(place)
        .chain(lengths)
        .chain(symbols.iter().copied())
        .collect()
}

/// Returns the entropy-coded data of tiles of one grey each.
fn tiled(tiles: usize, seed: u64) -> Vec<u8> {
    let mut bits = Bits::default();
    let (mut state, mut last) = (seed, 0);
    for _ in 0..tiles {
        // Knuth's generator; its high bits are good enough for a picture.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Quantised by 8, a DC coefficient is the grey level below or above the middle.
        let level = (state >> 57) as i32 - 64;
        bits.difference(level - last);
        bits.put(0, 1);
        last = level;
    }
    bits.end()
}

/// Bits, most significant first, with a zero behind each FF.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            self.waiting = self.waiting << 1 | value >> at & 1;
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.waiting as u8);
                if self.waiting == 0xFF {
                    self.bytes.push(0);
                }
                (self.waiting, self.count) = (0, 0);
            }
        }
    }

    /// Appends a DC difference: its category's code, then as many bits; T.81 F.1.2.1.
    fn difference(&mut self, value: i32) {
        let category = 32 - value.unsigned_abs().leading_zeros();
        match category {
            0 => self.put(0b00, 2),
            1..=5 => self.put(category + 1, 3),
            // 1110, 11110, ..
            _ => self.put((1 << (category - 2)) - 2, category - 2),
        }
        let bits = if value < 0 { value - 1 } else { value };
        self.put(bits as u32 & ((1 << category) - 1), category);
    }

    /// Returns the bytes, the last one filled up with ones.
    fn end(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.put(1, 1);
        }
        self.bytes
    }
}

/// Returns a JPEG with an orientation in Exif (CIPA DC-008, section 4.6.5): 6 turns it by 90 degrees clockwise.
pub fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    // TIFF in little endian with one entry: tag 0x0112, a short.
    let tiff = [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[orientation, 0, 0, 0, 0, 0, 0, 0],
    ];
    let body = [b"Exif\0\0", &tiff.concat()[..]].concat();
    let length = u16::try_from(body.len() + 2).expect("a few bytes");
    let (soi, rest) = jpeg.split_at(2);
    [soi, &[0xFF, 0xE1], &length.to_be_bytes(), &body, rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mosaic_is_one_whole_jpeg_of_exactly_so_many_bytes() {
        for bytes in [2000, 8000, 40_000, 65_507] {
            let jpeg = mosaic(300, 200, bytes as u64, bytes);
            assert_eq!(jpeg.len(), bytes);
            let header = protocol::jpeg::scan(&jpeg, protocol::jpeg::Limits::default()).unwrap();
            assert_eq!((header.width, header.height), (300, 200));
            assert_eq!(protocol::jpeg::stream_end(&jpeg), Ok(Some(bytes)));
        }
        assert_ne!(mosaic(64, 64, 1, 2000), mosaic(64, 64, 2, 2000));
    }

    #[test]
    fn differences_are_coded_as_the_standard_has_them() {
        let coded = |value| {
            let mut bits = Bits::default();
            bits.difference(value);
            bits.end()
        };
        // 00 and ones; 010 1; 010 0; 011 10; 1110 111111 for 63: the first categories of table K.3
        assert_eq!(coded(0), [0b0011_1111]);
        assert_eq!(coded(1), [0b0101_1111]);
        assert_eq!(coded(-1), [0b0100_1111]);
        assert_eq!(coded(2), [0b0111_0111]);
        assert_eq!(coded(-63), [0b1110_0000, 0b0011_1111]);
        // 11110 1111111 makes an FF only with what follows; 1111 1111 is stuffed.
        assert_eq!(coded(127), [0b1111_0111, 0b1111_1111, 0]);
    }
}
