//! What a decoder would have to do for a picture, counted without decoding.

use std::ops::Range;

use super::walk::{Step, Walk};
use super::{Defect, EOI, Limits, SOI};
use crate::geometry::Size;

const DHT: u8 = 0xC4;
const JPG: u8 = 0xC8;
const DAC: u8 = 0xCC;
const SOS: u8 = 0xDA;
const DNL: u8 = 0xDC;
const APP1: u8 = 0xE1;
const APP11: u8 = 0xEB;

/// Cost of a block's inverse transform, colours and pixels, in block-scans: measured 80 to 150 ns, where a scan of a block
/// takes 20 ns at most.
const BLOCK_COST: u64 = 5;
/// Cost of turning 64 pixels as Exif's orientation says, in block-scans: a large picture takes 380 ns for them.
const TURN_COST: u64 = 20;
/// Cost that a byte of entropy-coded data pays for. A whole sequential picture has two bits for each block at least (a DC
/// difference and an end of block) and costs `BLOCK_COST + 1` for it, so none is refused for its cost.
const COST_PER_BYTE: u64 = 4 * (BLOCK_COST + 1);

/// What a picture declares, and what decoding it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Size in pixels, as the frame header declares it; a side may be 0.
    pub size: Size,
    /// Number of components.
    pub components: usize,
    coding: Coding,
    /// Whether there is Exif data, and so perhaps an orientation.
    pub exif: bool,
    /// Number of segments, APP11 aside.
    pub segments: u64,
    /// Blocks of 8x8 of all components.
    pub blocks: u64,
    /// Blocks times the scans that code them.
    pub block_scans: u64,
    /// Bytes of entropy-coded data.
    pub coded_bytes: u64,
    /// Bytes that the walk looked at: linear in the picture's.
    pub visited: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Huffman,
    Arithmetic,
    /// Lossless or hierarchical.
    Other,
}

impl Survey {
    /// Walks once over the markers of one whole JPEG, in the way in which libjpeg reads them.
    ///
    /// # Errors
    /// If the bytes are not a JPEG with picture data, or its segments contradict each other.
    pub fn of(bytes: &[u8]) -> Result<Self, Defect> {
        if !(bytes.starts_with(&SOI) && bytes.get(2) == Some(&0xFF)) {
            return Err(Defect::NotJpeg);
        }
        let padding = bytes.iter().rev().take_while(|&&b| b == 0).count();
        if !bytes[..bytes.len() - padding].ends_with(&EOI) {
            return Err(Defect::NoEnd);
        }
        let mut walk = Walk::behind_soi();
        let mut surveyor = Surveyor::new(bytes);
        loop {
            match walk.step(bytes) {
                Step::Segment { marker, at, body } => surveyor.segment(marker, at, body)?,
                // libjpeg takes a length below 2 for 2 and goes on: what follows would not be counted.
                Step::BadLength(_) => return Err(surveyor.broken()),
                // Damage behind picture data: the decoder repairs it, and reads no further than this.
                Step::SecondStart(at) => return surveyor.end(at, walk.visited()),
                Step::Cut => return surveyor.end(walk.at(), walk.visited()),
                Step::End(behind) => return surveyor.end(behind - EOI.len(), walk.visited()),
            }
        }
    }

    /// Returns the size of a picture that a decoder may be given.
    ///
    /// # Errors
    /// The first [`Defect`] found.
    pub fn check(&self, limits: Limits) -> Result<Size, Defect> {
        let sane = |side: u16, limit: u16| (1..=limit).contains(&side);
        if !(sane(self.size.width, limits.width) && sane(self.size.height, limits.height)) {
            return Err(Defect::Dimensions);
        }
        if !(1..=limits.components).contains(&self.components) {
            return Err(Defect::Components);
        }
        match self.coding {
            Coding::Huffman => {}
            Coding::Arithmetic if limits.arithmetic => {}
            Coding::Arithmetic => return Err(Defect::Arithmetic),
            Coding::Other => return Err(Defect::Coding),
        }
        if self.segments > Limits::SEGMENTS {
            return Err(Defect::Segments);
        }
        let paid = limits
            .unpaid_cost
            .saturating_add(COST_PER_BYTE * self.coded_bytes);
        if self.block_scans > limits.block_scans || self.cost() > paid {
            return Err(Defect::DecodingCost);
        }
        Ok(self.size)
    }

    /// Returns the cost of decoding, in block-scans. Components may all be coarser than the picture, so its pixels count
    /// where they are more than its blocks.
    pub fn cost(&self) -> u64 {
        let side = |pixels: u16| u64::from(pixels.div_ceil(8));
        let pixels = side(self.size.width) * side(self.size.height);
        let turn = if self.exif { TURN_COST * pixels } else { 0 };
        BLOCK_COST * self.blocks.max(pixels) + turn + self.block_scans
    }
}

/// Collects a [`Survey`] segment by segment.
struct Surveyor<'a> {
    bytes: &'a [u8],
    survey: Option<Survey>,
    segments: u64,
    arithmetic: bool,
    exif: bool,
    components: Vec<Component>,
    /// Whether a scan was seen.
    scanned: bool,
    /// Offset behind the header of the last scan, whose data is going on.
    scan: Option<usize>,
}

struct Component {
    id: u8,
    blocks: u64,
}

impl<'a> Surveyor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            survey: None,
            segments: 0,
            arithmetic: false,
            exif: false,
            components: Vec::new(),
            scanned: false,
            scan: None,
        }
    }

    fn segment(&mut self, marker: u8, at: usize, body: Range<usize>) -> Result<(), Defect> {
        self.end_scan(at);
        self.segments += u64::from(marker != APP11);
        match marker {
            DAC => self.arithmetic = true,
            APP1 => self.exif |= self.bytes[body].starts_with(b"Exif"),
            // It would replace the height of the frame header.
            DNL => return Err(self.broken()),
            SOS => {
                (self.scanned, self.scan) = (true, Some(body.end));
                return self.scan_header(body);
            }
            0xC0..=0xCF if !matches!(marker, DHT | JPG) => return self.frame_header(marker, body),
            _ => {}
        }
        Ok(())
    }

    /// Reads precision, height, width and components: ITU-T T.81 B.2.2.
    fn frame_header(&mut self, marker: u8, body: Range<usize>) -> Result<(), Defect> {
        if self.survey.is_some() {
            return Err(Defect::Structure);
        }
        let [_, h1, h0, w1, w0, count, ref components @ ..] = self.bytes[body] else {
            return Err(Defect::NoFrameHeader);
        };
        let size = Size {
            width: u16::from_be_bytes([w1, w0]),
            height: u16::from_be_bytes([h1, h0]),
        };
        self.components = components_of(components, size)
            .filter(|components| components.len() == usize::from(count))
            .ok_or(Defect::NoFrameHeader)?;
        self.survey = Some(Survey {
            size,
            components: self.components.len(),
            coding: match marker {
                0xC0..=0xC2 => Coding::Huffman,
                0xC9..=0xCB | 0xCD..=0xCF => Coding::Arithmetic,
                _ => Coding::Other,
            },
            exif: false,
            segments: 0,
            blocks: self.components.iter().map(|one| one.blocks).sum(),
            block_scans: 0,
            coded_bytes: 0,
            visited: 0,
        });
        Ok(())
    }

    /// Adds the blocks of the components that a scan names: T.81 B.2.3.
    fn scan_header(&mut self, body: Range<usize>) -> Result<(), Defect> {
        let survey = self.survey.as_mut().ok_or(Defect::NoFrameHeader)?;
        let [count, ref rest @ ..] = self.bytes[body] else {
            return Err(Defect::Structure);
        };
        // Two bytes a component, and three behind them.
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(Defect::Structure);
        }
        let mut named = [false; 4];
        for selector in rest[..2 * count].chunks(2) {
            // As libjpeg does it, since some cameras give all components one id.
            let mut free = self.components.iter().zip(&mut named);
            let (component, named) = free
                .find(|(component, named)| component.id == selector[0] && !**named)
                .ok_or(Defect::Structure)?;
            *named = true;
            survey.block_scans += component.blocks;
        }
        Ok(())
    }

    fn end_scan(&mut self, at: usize) {
        if let (Some(start), Some(survey)) = (self.scan.take(), &mut self.survey) {
            survey.coded_bytes += at.saturating_sub(start) as u64;
        }
    }

    /// Returns what a broken structure is called: before the frame header, that is what is missing.
    fn broken(&self) -> Defect {
        match self.survey {
            None => Defect::NoFrameHeader,
            Some(_) => Defect::Structure,
        }
    }

    fn end(mut self, at: usize, visited: u64) -> Result<Survey, Defect> {
        self.end_scan(at);
        let mut survey = self.survey.ok_or(Defect::NoFrameHeader)?;
        if !self.scanned {
            return Err(Defect::NoScan);
        }
        if self.arithmetic && survey.coding == Coding::Huffman {
            survey.coding = Coding::Arithmetic;
        }
        survey.exif = self.exif;
        (survey.segments, survey.visited) = (self.segments, visited);
        Ok(survey)
    }
}

/// Returns the components of a frame header, three bytes each; `None` if they are none, or a sampling factor is not one of
/// 1 to 4.
fn components_of(bytes: &[u8], size: Size) -> Option<Vec<Component>> {
    let factors = |sampling: u8| (u64::from(sampling >> 4), u64::from(sampling & 15));
    let legal = |factor: u64| (1..=4).contains(&factor);
    if bytes.is_empty() || !bytes.len().is_multiple_of(3) {
        return None;
    }
    let sampling = || bytes.chunks(3).map(|component| factors(component[1]));
    if !sampling().all(|(h, v)| legal(h) && legal(v)) {
        return None;
    }
    let h_max = sampling().map(|(h, _)| h).max()?;
    let v_max = sampling().map(|(_, v)| v).max()?;
    // Counted in whole MCUs, as an interleaved scan codes them; a scan of one component alone leaves out the last few.
    let columns = u64::from(size.width).div_ceil(8 * h_max);
    let rows = u64::from(size.height).div_ceil(8 * v_max);
    let blocks = |(h, v)| columns * h * rows * v;
    let ids = bytes.chunks(3).map(|component| component[0]);
    let components = ids.zip(sampling());
    Some(
        components
            .map(|(id, sampling)| Component {
                id,
                blocks: blocks(sampling),
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests;
