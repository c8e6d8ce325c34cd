//! JPEG fixtures: sketches with a true marker structure for tests of bytes, where no decoder looks inside.

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
    /// A structure whose frame header declares this size in pixels.
    pub fn new(width: u16, height: u16) -> Self {
        Self {
            width,
            height,
            segments: Vec::new(),
            fill: 0,
            scans: 1,
        }
    }

    /// A segment in front of the frame header; `body` is at most 65 533 bytes.
    #[must_use]
    pub fn segment(mut self, marker: u8, body: &[u8]) -> Self {
        let length = u16::try_from(body.len() + 2).expect("a segment holds at most 65 533 bytes");
        self.segments.extend([0xFF, marker]);
        self.segments.extend(length.to_be_bytes());
        self.segments.extend(body);
        self
    }

    /// Fill bytes in front of the frame header's marker.
    #[must_use]
    pub fn fill_bytes(mut self, count: usize) -> Self {
        self.fill = count;
        self
    }

    /// Scans behind the frame header.
    #[must_use]
    pub fn scans(mut self, count: usize) -> Self {
        self.scans = count;
        self
    }

    /// The bytes, from SOI to EOI.
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
