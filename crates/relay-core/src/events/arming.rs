//! Whether a camera is armed: by a daily schedule, and by a command that holds until the schedule next changes.

use std::str::FromStr;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Most spans of a schedule.
const MAX_SPANS: usize = 24;

/// The times of day at which a camera is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// First minute of each span, and the first one after it. A span whose end is not behind its beginning goes on past
    /// midnight. No span: always.
    spans: Vec<(u16, u16)>,
    /// Whether the camera is armed without spans.
    always: bool,
}

/// Why a text is not a [`Schedule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a schedule: always, never, or spans of local time as in 22:00-06:00,12:30-13:00"
)]
pub struct BadSchedule(String);

impl Default for Schedule {
    fn default() -> Self {
        Self::constant(true)
    }
}

impl Schedule {
    /// Returns the schedule of a camera that is armed always, or never.
    pub fn constant(armed: bool) -> Self {
        Self {
            spans: Vec::new(),
            always: armed,
        }
    }

    /// Returns whether the camera is armed at a minute of the local day, from 0.
    pub fn is_armed(&self, minute: u16) -> bool {
        let within = |&(from, to): &(u16, u16)| match from < to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        };
        match self.spans.is_empty() {
            true => self.always,
            false => self.spans.iter().any(within),
        }
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(s: &str) -> Result<Self, BadSchedule> {
        match s.trim() {
            "always" => return Ok(Self::constant(true)),
            "never" => return Ok(Self::constant(false)),
            _ => {}
        }
        let spans: Option<Vec<_>> = s.split(',').map(span).collect();
        let spans = spans.filter(|spans| spans.len() <= MAX_SPANS);
        spans
            .map(|spans| Self {
                spans,
                always: true,
            })
            .ok_or_else(|| BadSchedule(s.chars().take(80).collect()))
    }
}

fn span(s: &str) -> Option<(u16, u16)> {
    let (from, to) = s.trim().split_once('-')?;
    Some((minute(from)? % DAY, minute(to)?))
}

/// Returns the minute of a time of day; 24:00 is the end of the day.
fn minute(s: &str) -> Option<u16> {
    let (hours, minutes) = s.trim().split_once(':')?;
    let digits = |s: &str, length: std::ops::RangeInclusive<usize>| {
        // `parse` takes a sign too.
        let sane = length.contains(&s.len()) && s.bytes().all(|digit| digit.is_ascii_digit());
        s.parse::<u16>().ok().filter(|_| sane)
    };
    let (hours, minutes) = (digits(hours, 1..=2)?, digits(minutes, 2..=2)?);
    let minute = 60 * hours + minutes;
    (minutes < 60 && minute <= DAY).then_some(minute)
}

/// The state of one camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Arming {
    /// What a command said, and what the schedule said at that time.
    command: Option<(bool, bool)>,
}

impl Arming {
    /// Arms or disarms the camera until the schedule next changes.
    pub(super) fn command(&mut self, armed: bool, schedule: &Schedule, minute: u16) {
        self.command = Some((armed, schedule.is_armed(minute)));
    }

    /// Returns whether the camera is armed now.
    pub(super) fn is_armed(&mut self, schedule: &Schedule, minute: u16) -> bool {
        let scheduled = schedule.is_armed(minute);
        self.command = self.command.filter(|(_, then)| *then == scheduled);
        self.command.map_or(scheduled, |(armed, _)| armed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_armed_within_its_spans_also_past_midnight() {
        let schedule: Schedule = "22:00-06:00, 12:30-13:00".parse().unwrap();
        for (hour, minute, armed) in [
            (22, 0, true),
            (0, 0, true),
            (5, 59, true),
            (6, 0, false),
            (12, 29, false),
            (12, 30, true),
            (13, 0, false),
        ] {
            assert_eq!(
                schedule.is_armed(60 * hour + minute),
                armed,
                "{hour}:{minute}"
            );
        }
        let day: Schedule = "0:00-24:00".parse().unwrap();
        assert!((0..DAY).all(|minute| day.is_armed(minute)));
        assert!((0..DAY).all(|minute| Schedule::default().is_armed(minute)));
        let never: Schedule = "never".parse().unwrap();
        assert!((0..DAY).all(|minute| !never.is_armed(minute)));
    }

    #[test]
    fn what_is_no_time_of_day_is_no_schedule() {
        for bad in [
            "",
            "22-6",
            "22:00",
            "25:00-1:00",
            "1:60-2:00",
            "+1:00-2:00",
            "1:0-2:00",
        ] {
            let why = bad.parse::<Schedule>().unwrap_err();
            assert!(why.to_string().contains("22:00-06:00"), "{bad}");
        }
    }

    #[test]
    fn a_command_holds_until_the_schedule_next_changes() {
        let schedule: Schedule = "22:00-06:00".parse().unwrap();
        let mut arming = Arming::default();
        assert!(!arming.is_armed(&schedule, 12 * 60));
        arming.command(true, &schedule, 12 * 60);
        assert!(arming.is_armed(&schedule, 13 * 60));
        assert!(arming.is_armed(&schedule, 23 * 60), "the schedule's own");
        assert!(!arming.is_armed(&schedule, 7 * 60), "the command is over");
    }
}
