//! What happened, by the truth or by the rules, and how well the two agree.

use std::fmt;
use std::time::Duration;

use relay_core::events::{CameraSettings, EventSettings, Polygon, Zone};

/// Largest difference of two starts or two ends, in seconds: the truth counts a part of an object, the model knows wholes.
const TOLERANCE: f64 = 2.0;
/// Largest difference of two entries into a zone, in seconds.
const ENTRY_TOLERANCE: f64 = 1.5;

/// One object's stay in the picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Passage {
    pub(crate) label: String,
    /// In seconds, as the next.
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) entries: Vec<ZoneEntry>,
}

/// An entry into a zone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ZoneEntry {
    pub(crate) zone: String,
    /// In seconds.
    pub(crate) at: f64,
}

/// A stream's truth.
pub(crate) struct Truth {
    pub(crate) passages: Vec<Passage>,
    pub(crate) zones: Vec<Zone>,
}

/// Counts of agreement; they add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    both: usize,
    truth: usize,
    found: usize,
}

impl Passage {
    pub(crate) fn new(label: &str, start: f64, end: f64) -> Self {
        Self {
            label: label.to_owned(),
            start,
            end,
            entries: Vec::new(),
        }
    }

    /// Returns how unlike two passages are; `None` if they are not of one object.
    fn distance(&self, other: &Self) -> Option<f64> {
        let [start, end] = [self.start - other.start, self.end - other.end].map(f64::abs);
        let near = start <= TOLERANCE && end <= TOLERANCE;
        // Two objects of one label may be there at the same time: their ways tell them apart.
        let unlike = self.entries.len() + other.entries.len() - 2 * self.common(other);
        (near && self.label == other.label).then_some(start + end + unlike as f64)
    }
}

impl Passage {
    /// Returns the number of entries of `other` that are in `self` too.
    fn common(&self, other: &Self) -> usize {
        let is_common = |entry: &&ZoneEntry| {
            let mut known = self.entries.iter();
            known.any(|known| {
                known.zone == entry.zone && (known.at - entry.at).abs() <= ENTRY_TOLERANCE
            })
        };
        other.entries.iter().filter(is_common).count()
    }
}

impl Truth {
    /// Parses a file of `truth/`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut truth = Self {
            passages: Vec::new(),
            zones: Vec::new(),
        };
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] | ["#", ..] => {}
                ["zone", name, ref corners @ ..] => truth.zones.push(zone(name, corners)),
                ["event", label, start, end, ref entries @ ..] => {
                    let mut passage = Passage::new(label, number(start), number(end));
                    passage.entries = entries.iter().map(|text| entry(text)).collect();
                    truth.passages.push(passage);
                }
                _ => panic!("not a line of the truth: {line}"),
            }
        }
        truth
    }

    /// Returns the settings with the truth's zones.
    pub(crate) fn settings(&self) -> EventSettings {
        let default = CameraSettings {
            zones: self.zones.clone(),
            ..CameraSettings::default()
        };
        EventSettings {
            default,
            ..EventSettings::default()
        }
    }
}

impl Agreement {
    /// Returns the share of what was found that is true.
    pub(crate) fn precision(self) -> f64 {
        self.both as f64 / self.found as f64
    }

    /// Returns the share of the truth that was found.
    pub(crate) fn recall(self) -> f64 {
        self.both as f64 / self.truth as f64
    }
}

impl std::ops::AddAssign for Agreement {
    fn add_assign(&mut self, other: Self) {
        self.both += other.both;
        self.truth += other.truth;
        self.found += other.found;
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { both, truth, found } = self;
        let [p, r] = [self.precision(), self.recall()];
        write!(
            f,
            "{both} of {truth} true, {found} found: precision {p:.3}, recall {r:.3}"
        )
    }
}

/// Compares passages, and the entries into zones of those that agree. A second event of one object agrees with nothing.
pub(crate) fn compare(truth: &[Passage], found: &[Passage]) -> (Agreement, Agreement) {
    let mut pairs: Vec<_> = pairs(truth, found).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut of_truth, mut of_found) = (vec![false; truth.len()], vec![false; found.len()]);
    let entries = |all: &[Passage]| all.iter().map(|passage| passage.entries.len()).sum();
    let mut events = Agreement {
        both: 0,
        truth: truth.len(),
        found: found.len(),
    };
    let mut zones = Agreement {
        both: 0,
        truth: entries(truth),
        found: entries(found),
    };
    for (_, t, f) in pairs {
        if of_truth[t] || of_found[f] {
            continue;
        }
        (of_truth[t], of_found[f]) = (true, true);
        events.both += 1;
        zones.both += truth[t].common(&found[f]);
    }
    (events, zones)
}

fn pairs<'a>(
    truth: &'a [Passage],
    found: &'a [Passage],
) -> impl Iterator<Item = (f64, usize, usize)> + 'a {
    truth.iter().enumerate().flat_map(move |(t, known)| {
        let near = move |(f, other): (usize, &Passage)| Some((known.distance(other)?, t, f));
        found.iter().enumerate().filter_map(near)
    })
}

fn zone(name: &str, corners: &[&str]) -> Zone {
    let corner = |text: &&str| {
        let (x, y) = text.split_once(',').unwrap();
        [number(x) as f32, number(y) as f32]
    };
    Zone {
        name: name.to_owned(),
        polygon: Polygon::new(corners.iter().map(corner).collect()).unwrap(),
        classes: Vec::new(),
        min_time: Duration::ZERO,
    }
}

fn entry(text: &str) -> ZoneEntry {
    let (zone, at) = text.split_once('@').unwrap();
    ZoneEntry {
        zone: zone.to_owned(),
        at: number(at),
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}
