//! Letters beyond ASCII: an embedded font with Latin, Greek and Cyrillic ones, and for all others those of the system that
//! fontconfig names.
//!
//! Letters are set one after the other from left to right. Scripts that need more (right to left, or letters that join) count
//! as missing: drawn so, they would be wrong.

use std::collections::HashMap;
use std::rc::Rc;

use ab_glyph::{Font, FontRef, FontVec, Glyph, GlyphId, PxScale, ScaleFont as _, point};
use fontdb::{Database, FaceInfo, Style, Weight};

/// DejaVu Sans; see `fonts/LICENSE`.
const EMBEDDED: &[u8] = include_bytes!("../fonts/dejavu-sans-latin-cyrillic.ttf");
/// Searches through the system's fonts in a process, at most. One takes milliseconds, and the names of a model may hold any
/// character; a letter that a font found earlier has needs none.
const MAX_SEARCHES: u32 = 64;
/// System fonts in memory, at most: one for Chinese, Japanese and Korean has up to 20 MB.
const MAX_FONTS: usize = 8;
/// Characters and bitmaps that are remembered, at most, several times those of all names of a model.
const MAX_REMEMBERED: usize = 4096;

/// The fonts of a process.
#[derive(Debug)]
pub(crate) struct Fonts {
    /// The embedded one, then those of the system that were needed.
    fonts: Vec<FontVec>,
    /// Those of the system, the preferred ones first; `None` before the first search.
    system: Option<(Database, Vec<fontdb::ID>)>,
    searches_left: u32,
    /// Font and glyph of a character; `None` if no font has it.
    known: HashMap<char, Option<(usize, GlyphId)>>,
    bitmaps: HashMap<(char, u16), Rc<Bitmap>>,
}

/// A character as pixels.
#[derive(Debug)]
pub(crate) struct Bitmap {
    /// Column of its first pixel, from the pen.
    pub(crate) left: i32,
    /// Row of its first pixel, from the base line.
    pub(crate) top: i32,
    pub(crate) width: usize,
    /// How far ink covers each pixel, 0 to 1, row by row.
    pub(crate) coverage: Vec<f32>,
    /// Pixels to the next character.
    pub(crate) advance: f32,
}

impl Fonts {
    /// Returns the embedded font, and the system's once they are needed.
    pub(crate) fn new() -> Self {
        let embedded = FontVec::try_from_vec(EMBEDDED.to_vec());
        Self {
            fonts: vec![embedded.expect("the embedded font is sound")],
            system: None,
            searches_left: MAX_SEARCHES,
            known: HashMap::new(),
            bitmaps: HashMap::new(),
        }
    }

    /// Whether a text can be drawn as it is.
    pub(crate) fn have(&mut self, text: &str) -> bool {
        text.chars().all(|c| self.glyph(c).is_some())
    }

    /// Returns a character at this size, the side of a letter's square in pixels; one that no font has as a question mark.
    pub(crate) fn bitmap(&mut self, c: char, em: u16) -> Rc<Bitmap> {
        if let Some(bitmap) = self.bitmaps.get(&(c, em)) {
            return Rc::clone(bitmap);
        }
        let glyph = self.glyph(c).or_else(|| self.glyph('?'));
        let (font, glyph) = glyph.expect("the embedded font has ASCII");
        let bitmap = Rc::new(Bitmap::new(&self.fonts[font], glyph, em));
        if self.bitmaps.len() == MAX_REMEMBERED {
            self.bitmaps.clear();
        }
        self.bitmaps.insert((c, em), Rc::clone(&bitmap));
        bitmap
    }

    fn glyph(&mut self, c: char) -> Option<(usize, GlyphId)> {
        if let Some(known) = self.known.get(&c) {
            return *known;
        }
        let found = match needs_shaping(c) {
            true => None,
            false => self.loaded(c).or_else(|| self.search(c)),
        };
        if self.known.len() == MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(c, found);
        found
    }

    fn loaded(&self, c: char) -> Option<(usize, GlyphId)> {
        let mut fonts = self.fonts.iter().enumerate();
        fonts.find_map(|(font, one)| Some((font, drawable(one, c)?)))
    }

    /// Searches the system's fonts, and loads the first that has the character.
    fn search(&mut self, c: char) -> Option<(usize, GlyphId)> {
        if self.fonts.len() > MAX_FONTS {
            return None;
        }
        self.searches_left = self.searches_left.checked_sub(1)?;
        let (database, faces) = self.system.get_or_insert_with(system);
        let has = |data: &[u8], index| {
            let font = FontRef::try_from_slice_and_index(data, index).ok();
            font.is_some_and(|font| drawable(&font, c).is_some())
        };
        let mut having = faces
            .iter()
            .filter(|id| database.with_face_data(**id, has) == Some(true));
        let (data, index) =
            database.with_face_data(*having.next()?, |data, index| (data.to_vec(), index))?;
        let font = FontVec::try_from_vec_and_index(data, index).ok()?;
        let glyph = drawable(&font, c)?;
        self.fonts.push(font);
        Some((self.fonts.len() - 1, glyph))
    }
}

/// Returns the system's fonts, and their order: upright, of normal weight, without serifs.
fn system() -> (Database, Vec<fontdb::ID>) {
    let mut database = Database::new();
    database.load_system_fonts();
    let mut faces: Vec<_> = database
        .faces()
        .map(|face| (unlikeness(face), face.id))
        .collect();
    faces.sort_by_key(|(unlikeness, _)| *unlikeness);
    let order = faces.into_iter().map(|(_, id)| id).collect();
    (database, order)
}

/// Returns how far a face is from what is drawn best beside a box; 0 is the best.
fn unlikeness(face: &FaceInfo) -> u32 {
    let families = || face.families.iter().map(|(name, _)| name.as_str());
    let is = |part: &str| families().any(|name| name.contains(part));
    // Fonts for Chinese, Japanese and Korean come in a face for each, with other forms of the same characters.
    let other_han = is(" JP") || is(" KR") || is(" TC") || is(" HK");
    let weight = u32::from(face.weight.0.abs_diff(Weight::NORMAL.0));
    let wrong = [
        (face.style != Style::Normal, 10_000),
        (is("Serif") || is("Ming") || is("Song"), 2000),
        (face.monospaced || is("Mono"), 1500),
        (other_han, 1200),
    ];
    let wrong = wrong
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, points)| points);
    weight + wrong.sum::<u32>()
}

/// Returns the glyph of a character if the font has one and can draw it.
fn drawable(font: &impl Font, c: char) -> Option<GlyphId> {
    let glyph = font.glyph_id(c);
    (glyph.0 != 0 && (c.is_whitespace() || font.outline(glyph).is_some())).then_some(glyph)
}

/// Whether a character is of a script that is written from right to left, or whose letters join or change their order.
fn needs_shaping(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{dff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{1a00}'..='\u{1bff}'
        | '\u{a840}'..='\u{abff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{10800}'..='\u{11fff}')
}

impl Bitmap {
    fn new(font: &FontVec, glyph: GlyphId, em: u16) -> Self {
        // ab_glyph's scale is the height of a line.
        let units = font.units_per_em().unwrap_or(1000.0);
        let scale = PxScale::from(f32::from(em) * font.height_unscaled() / units);
        let advance = font.as_scaled(scale).h_advance(glyph);
        let glyph: Glyph = glyph.with_scale_and_position(scale, point(0.0, 0.0));
        let Some(outline) = font.outline_glyph(glyph) else {
            return Self {
                left: 0,
                top: 0,
                width: 0,
                coverage: Vec::new(),
                advance,
            };
        };
        let bounds = outline.px_bounds();
        let (width, height) = (bounds.width() as usize, bounds.height() as usize);
        let mut coverage = vec![0.0; width * height];
        outline.draw(|x, y, ink| {
            if let Some(pixel) = coverage.get_mut(y as usize * width + x as usize) {
                *pixel = ink;
            }
        });
        Self {
            left: bounds.min.x as i32,
            top: bounds.min.y as i32,
            width,
            coverage,
            advance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rare_characters_cost_a_bounded_number_of_searches() {
        let mut fonts = Fonts::new();
        let private = ('\u{f0000}'..).take(1000);
        assert_eq!(private.filter(|c| fonts.have(&c.to_string())).count(), 0);
        assert_eq!(fonts.searches_left, 0);
        assert!(
            fonts.have("Küche и человек"),
            "what is loaded is still drawn"
        );
        let many = ('\u{f0000}'..).take(2 * MAX_REMEMBERED);
        let drawn = many.filter(|c| fonts.have(&c.to_string()));
        assert_eq!(drawn.count(), 0);
        assert!(fonts.known.len() <= MAX_REMEMBERED);
        ('\u{100}'..)
            .take(2 * MAX_REMEMBERED)
            .for_each(|c| drop(fonts.bitmap(c, 12)));
        assert!(fonts.bitmaps.len() <= MAX_REMEMBERED);
    }

    #[test]
    fn sans_serif_faces_of_normal_weight_go_first() {
        let (database, order) = system();
        let Some(first) = order.first().and_then(|id| database.face(*id)) else {
            return testkit::skip("this machine has no fonts");
        };
        assert_eq!((first.style, first.weight), (Style::Normal, Weight::NORMAL));
        assert!(!first.monospaced);
    }
}
