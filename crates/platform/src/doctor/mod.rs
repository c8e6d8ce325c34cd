//! The base of `PROGRAM doctor`, which prints one line for each check: good, or what to do.
//!
//! The programs gather facts, pure functions turn them into a [`Check`], and the [`Report`] prints it; so each check is
//! tested without the machine that it is about.

pub mod files;
pub mod machine;
pub mod service;

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use protocol::text::printable;

/// Longest text of a line, in characters: no text of ours is as long.
const MAX_TEXT: usize = 2000;

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Good,
    /// The program works, and would work better with a change.
    Advice,
    /// The program cannot work.
    Bad,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Subject, in a word or two.
    pub about: &'static str,
    /// Result.
    pub verdict: Verdict,
    /// Finding and, if it is not good, what to do.
    pub text: String,
}

impl Check {
    /// Returns a line with nothing to do.
    pub fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, Verdict::Good, text.into())
    }

    /// Returns a line with advice.
    pub fn advice(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, Verdict::Advice, text.into())
    }

    /// Returns a line with a problem that has to be fixed.
    pub fn bad(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, Verdict::Bad, text.into())
    }

    /// Returns a line on something that the program cannot work without: the text, or the failure's whole chain of
    /// causes.
    pub fn of(about: &'static str, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(text) => Self::good(about, text),
            Err(err) => Self::bad(about, format!("{err:#}")),
        }
    }

    fn new(about: &'static str, verdict: Verdict, text: String) -> Self {
        Self {
            about,
            verdict,
            text,
        }
    }

    fn line(&self, colour: bool) -> String {
        let Self {
            about,
            verdict,
            text,
        } = self;
        let (on, off) = match colour {
            true => (verdict.colour(), "\x1b[0m"),
            false => ("", ""),
        };
        // The text may come from the network or from files: it must not control the terminal, and it stays one line.
        let text = printable(text, MAX_TEXT);
        format!("{on}{verdict:<6}{off}  {about:<12}  {text}")
    }
}

impl Verdict {
    fn colour(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Advice => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Advice => "advice",
            Self::Bad => "BAD",
        })
    }
}

/// Prints the lines on standard output as they come, since some checks take seconds, and counts them.
#[derive(Debug)]
pub struct Report {
    colour: bool,
    advice: usize,
    bad: usize,
}

impl Default for Report {
    /// Returns a report in colours on a terminal, unless `NO_COLOR` is set.
    fn default() -> Self {
        Self {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            advice: 0,
            bad: 0,
        }
    }
}

impl Report {
    /// Prints a line.
    pub fn add(&mut self, check: &Check) {
        match check.verdict {
            Verdict::Good => {}
            Verdict::Advice => self.advice += 1,
            Verdict::Bad => self.bad += 1,
        }
        print(&check.line(self.colour));
    }

    /// Prints lines.
    pub fn extend(&mut self, checks: impl IntoIterator<Item = Check>) {
        checks.into_iter().for_each(|check| self.add(&check));
    }

    /// Prints the summary, and returns the exit code: a failure if any line is bad.
    pub fn end(self) -> ExitCode {
        print(&self.summary());
        match self.bad {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    fn summary(&self) -> String {
        match (self.bad, self.advice) {
            (0, 0) => "all is good".to_owned(),
            (0, advice) => format!("it works; advice to follow: {advice}"),
            (bad, _) => format!("problems to fix: {bad}"),
        }
    }
}

/// Prints a line; a closed standard output is not a failure.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            colour: false,
            advice: 0,
            bad: 0,
        }
    }

    #[test]
    fn a_check_is_one_line_with_its_verdict_first() {
        let check = Check::advice("clock", "is not set");
        assert_eq!(check.line(false), "advice  clock         is not set");
        let colour = check.line(true);
        assert!(colour.starts_with("\x1b[33madvice\x1b[0m  clock"));
        assert!(Check::bad("x", "").line(false).starts_with("BAD     x"));
    }

    #[test]
    fn what_a_stranger_or_a_library_says_stays_one_line_without_commands_to_the_terminal() {
        let line = Check::good("camera", "yard\x1b[2J\r\nBAD \u{9b}31m").line(false);
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn a_failure_is_told_with_all_its_causes() {
        let err = anyhow::anyhow!("no such file").context("--model x");
        let check = Check::of("model", Err(err));
        assert_eq!(check, Check::bad("model", "--model x: no such file"));
        assert_eq!(
            Check::of("model", Ok("demo".to_owned())).verdict,
            Verdict::Good
        );
    }

    #[test]
    fn only_what_is_bad_fails() {
        let mut good = report();
        good.extend([Check::good("a", ""), Check::good("b", "")]);
        assert_eq!(good.summary(), "all is good");
        assert_eq!(good.end(), ExitCode::SUCCESS);
        let mut advice = report();
        advice.extend([Check::good("a", ""), Check::advice("b", "")]);
        assert!(advice.summary().contains("advice to follow: 1"));
        assert_eq!(advice.end(), ExitCode::SUCCESS);
        let mut bad = report();
        bad.extend([Check::bad("a", ""), Check::advice("b", "")]);
        assert!(bad.summary().contains("problems to fix: 1"));
        assert_eq!(bad.end(), ExitCode::FAILURE);
    }
}
