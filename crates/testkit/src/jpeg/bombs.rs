//! Small JPEGs that keep a decoder busy, and honest ones that look like them.

use super::{END_OF_BLOCK, huffman_table, segment};

const BASELINE: u8 = 0xC0;
const PROGRESSIVE: u8 = 0xC2;
const ARITHMETIC: u8 = 0xC9;
const LARGEST: u16 = 4096;
const GREY: [u8; 1] = [0x11];
/// Colour as cameras sample it, 4:2:0.
const COLOUR: [u8; 3] = [0x22, 0x11, 0x11];
/// Colour without subsampling, 4:4:4.
const FULL_COLOUR: [u8; 3] = [0x11, 0x11, 0x11];
/// Symbol that ends the band of 16 384 blocks and more, as 14 further bits say.
const END_OF_BAND_RUN: u8 = 0xE0;
/// The longest run of blocks whose band ends: a code of one bit and 14 ones.
const LONGEST_RUN: [u8; 2] = [0x7F, 0xFE];

/// A JPEG that decoders accept, with headers and scans as they are given.
#[derive(Debug, Clone)]
pub struct Forged {
    frame_header: Vec<u8>,
    ac_symbol: u8,
    segments: Vec<u8>,
    scans: Vec<u8>,
}

impl Forged {
    /// Returns a picture without scans: the marker of its frame header, its size, and a byte of sampling factors for each
    /// component.
    pub fn new(marker: u8, (width, height): (u16, u16), sampling: &[u8]) -> Self {
        let [h1, h0] = height.to_be_bytes();
        let [w1, w0] = width.to_be_bytes();
        let mut body = vec![8, h1, h0, w1, w0, count(sampling.len())];
        for (id, factors) in (1..).zip(sampling) {
            body.extend([id, *factors, 0]);
        }
        Self {
            frame_header: segment(marker, &body),
            ac_symbol: END_OF_BLOCK,
            segments: Vec::new(),
            scans: Vec::new(),
        }
    }

    /// Adds segments in front of the frame header.
    #[must_use]
    pub fn segments(mut self, marker: u8, body: &[u8], count: usize) -> Self {
        self.segments.extend(segment(marker, body).repeat(count));
        self
    }

    /// Sets the only symbol of the AC table.
    #[must_use]
    pub fn ac_symbol(mut self, symbol: u8) -> Self {
        self.ac_symbol = symbol;
        self
    }

    /// Adds a scan of the components with these numbers, 1 to 4. `band` is the first and the last coefficient, and the bit
    /// position before and now, as T.81 packs it.
    #[must_use]
    pub fn scan(mut self, components: &[u8], band: [u8; 3], data: &[u8]) -> Self {
        let mut body = vec![count(components.len())];
        body.extend(components.iter().flat_map(|id| [*id, 0]));
        body.extend(band);
        self.scans.extend(segment(0xDA, &body));
        self.scans.extend(data);
        self
    }

    /// Adds the same scan many times.
    #[must_use]
    pub fn scans(self, count: usize, components: &[u8], band: [u8; 3], data: &[u8]) -> Self {
        (0..count).fold(self, |jpeg, _| jpeg.scan(components, band, data))
    }

    /// Adds any bytes behind the last scan.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.scans.extend(bytes);
        self
    }

    /// Returns the bytes, from SOI to EOI. Each Huffman table has one code of one bit.
    pub fn bytes(&self) -> Vec<u8> {
        [
            &[0xFF, 0xD8][..],
            &segment(0xDB, &[&[0][..], &[1; 64]].concat()),
            &self.segments,
            &self.frame_header,
            &segment(0xC4, &huffman_table(0x00, &[1], &[0])),
            &segment(0xC4, &huffman_table(0x10, &[1], &[self.ac_symbol])),
            &self.scans,
            &[0xFF, 0xD9],
        ]
        .concat()
    }
}

/// Returns a whole picture of one grey level in the fewest bytes: two bits a block.
pub fn flat(width: u16, height: u16) -> Vec<u8> {
    let mcus = usize::from(width.div_ceil(16)) * usize::from(height.div_ceil(16));
    Forged::new(BASELINE, (width, height), &COLOUR)
        .scan(&[1, 2, 3], [0, 63, 0], &vec![0; (6 * mcus).div_ceil(4)])
        .bytes()
}

/// Returns a whole progressive picture of one grey level, with the ten scans of libjpeg's own script.
pub fn flat_progressive(width: u16, height: u16) -> Vec<u8> {
    let mcus = usize::from(width.div_ceil(16)) * usize::from(height.div_ceil(16));
    let dc = vec![0; (6 * mcus).div_ceil(8)];
    let runs = LONGEST_RUN.repeat((4 * mcus).div_ceil(32_767));
    let jpeg = Forged::new(PROGRESSIVE, (width, height), &COLOUR)
        .ac_symbol(END_OF_BAND_RUN)
        .scan(&[1, 2, 3], [0, 0, 1], &dc);
    let first = [
        (1, [1, 5, 2]),
        (3, [1, 63, 1]),
        (2, [1, 63, 1]),
        (1, [6, 63, 2]),
        (1, [1, 63, 0x21]),
    ];
    let jpeg = first
        .iter()
        .fold(jpeg, |jpeg, (id, band)| jpeg.scan(&[*id], *band, &runs));
    let jpeg = jpeg.scan(&[1, 2, 3], [0, 0, 0x10], &dc);
    [3, 2, 1]
        .iter()
        .fold(jpeg, |jpeg, id| jpeg.scan(&[*id], [1, 63, 0x10], &runs))
        .bytes()
}

/// Returns the pictures that cost more than they may, each with a name.
pub fn costly() -> Vec<(&'static str, Vec<u8>)> {
    let largest = |marker, sampling: &[u8]| Forged::new(marker, (LARGEST, LARGEST), sampling);
    let dc = [0, 0, 0];
    let band = [1, 63, 0];
    let refined = [1, 63, 0x10];
    vec![
        (
            "no data",
            largest(BASELINE, &COLOUR)
                .scan(&[1, 2, 3], [0, 63, 0], &[])
                .bytes(),
        ),
        (
            "no data, progressive",
            largest(PROGRESSIVE, &FULL_COLOUR)
                .scan(&[1, 2, 3], dc, &[])
                .bytes(),
        ),
        (
            "coarse components",
            largest(PROGRESSIVE, &[0x41, 0x14, 0x11])
                .scan(&[1, 2, 3], dc, &[])
                .bytes(),
        ),
        (
            "DC refinements",
            largest(PROGRESSIVE, &COLOUR)
                .scan(&[1, 2, 3], [0, 0, 1], &[])
                .scans(99, &[1, 2, 3], [0, 0, 0x10], &[0xAA])
                .bytes(),
        ),
        (
            "end-of-band runs",
            largest(PROGRESSIVE, &GREY)
                .ac_symbol(END_OF_BAND_RUN)
                .scan(&[1], dc, &[0; 32_768])
                .scans(8, &[1], band, &LONGEST_RUN.repeat(9))
                .bytes(),
        ),
        (
            "AC refinements of a small picture",
            Forged::new(PROGRESSIVE, (640, 480), &GREY)
                .ac_symbol(END_OF_BAND_RUN)
                .scan(&[1], dc, &[])
                .scans(450, &[1], refined, &LONGEST_RUN)
                .bytes(),
        ),
        (
            "scans in turn",
            largest(BASELINE, &COLOUR)
                .scans(5, &[1], [0, 63, 0], &[0; 9_000])
                .scan(&[2], [0, 63, 0], &[])
                .scan(&[3], [0, 63, 0], &[])
                .bytes(),
        ),
        (
            "a restart at each MCU",
            largest(BASELINE, &COLOUR)
                .segments(0xDD, &[0, 1], 1)
                .scan(
                    &[1, 2, 3],
                    [0, 63, 0],
                    &[0xFF, 0xD0, 0xFF, 0xD1].repeat(8_000),
                )
                .bytes(),
        ),
    ]
}

/// Returns pictures with a coding or with components that no camera uses, each with a name.
pub fn unusual() -> Vec<(&'static str, Vec<u8>)> {
    let small = |marker, sampling: &[u8]| Forged::new(marker, (64, 64), sampling);
    vec![
        (
            "arithmetic",
            small(ARITHMETIC, &COLOUR)
                .scan(&[1, 2, 3], [0, 63, 0], &[0; 9])
                .bytes(),
        ),
        (
            "arithmetic tables",
            small(BASELINE, &COLOUR)
                .segments(0xCC, &[0, 0x10], 1)
                .scan(&[1, 2, 3], [0, 63, 0], &[0; 9])
                .bytes(),
        ),
        (
            "lossless",
            small(0xC3, &GREY).scan(&[1], [1, 0, 0], &[0; 9]).bytes(),
        ),
        (
            "four components",
            small(BASELINE, &[0x11; 4])
                .scan(&[1, 2, 3, 4], [0, 63, 0], &[0; 64])
                .bytes(),
        ),
    ]
}

/// Returns small pictures of 60 kB of segments, each with a name: of APP1, which decoders keep, and of tables.
pub fn many_segments() -> Vec<(&'static str, Vec<u8>)> {
    let with = |marker, body: &[u8], count| {
        Forged::new(BASELINE, (64, 64), &GREY)
            .segments(marker, body, count)
            .scan(&[1], [0, 63, 0], &[0; 16])
            .bytes()
    };
    vec![
        ("APP1", with(0xE1, b"", 15_000)),
        ("comments", with(0xFE, b"", 15_000)),
        (
            "Huffman tables",
            with(0xC4, &huffman_table(0x10, &[1], &[END_OF_BLOCK]), 2_800),
        ),
        (
            "quantisation tables",
            with(0xDB, &[&[0][..], &[1; 64]].concat(), 880),
        ),
    ]
}

fn count(components: usize) -> u8 {
    u8::try_from(components).expect("a picture has few components")
}
