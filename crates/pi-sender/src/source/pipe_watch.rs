//! Decides when a pipe without pictures is reported, and names what comes in place of JPEGs.
//!
//! Pure. Camera programs write H.264 by default, and a live pipe of it never ends, so that its end cannot report it.

use std::time::{Duration, Instant};

use protocol::datagram::Foreign;
use protocol::text::{MAX_SHOWN, printable_bytes};

/// Time without data, or with data and without a picture, after which that is reported; a camera starts in about one second.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes without the start of a JPEG after which that is reported: no header is as long.
const MAX_FOREIGN: usize = 1_000_000;
/// First bytes that are kept: three packets of an MPEG transport stream.
const HEAD: usize = 3 * 188;
/// What to write into the pipe instead.
const CURE: &str = "write JPEGs back to back (MJPEG), as in rpicam-vid -t 0 --codec mjpeg -o - or ffmpeg .. -c:v mjpeg -f mjpeg -";

/// What a pipe has given before its first picture.
#[derive(Debug)]
pub(super) struct PipeWatch {
    patience: Duration,
    start: Instant,
    /// Time of the first byte.
    first_byte: Option<Instant>,
    total: usize,
    head: Vec<u8>,
    silence_reported: bool,
    data_reported: bool,
}

impl PipeWatch {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            start: now,
            first_byte: None,
            total: 0,
            head: Vec::new(),
            silence_reported: false,
            data_reported: false,
        }
    }

    /// Takes the bytes that came.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        self.first_byte.get_or_insert(now);
        self.total = self.total.saturating_add(bytes.len());
        let missing = HEAD - self.head.len();
        self.head
            .extend_from_slice(&bytes[..missing.min(bytes.len())]);
    }

    /// Returns the time until [`Self::report`] is due if nothing comes; `None` if all is reported that can be.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let (since, reported) = match self.first_byte {
            Some(first) => (first, self.data_reported),
            None => (self.start, self.silence_reported),
        };
        (!reported).then(|| (since + self.patience).saturating_duration_since(now))
    }

    /// Returns what is to be reported now; silence and data without a picture once each.
    pub(super) fn report(&mut self, now: Instant) -> Option<String> {
        let late = self.wait(now)?.is_zero();
        if self.first_byte.is_none() {
            self.silence_reported = late;
            return late.then(|| {
                format!(
                    "no data comes on standard input for {} s: does the program in front of the pipe run, and does it write \
                     to its standard output?",
                    self.patience.as_secs()
                )
            });
        }
        self.data_reported = late || (self.total >= MAX_FOREIGN && !self.has_jpeg_start());
        self.data_reported.then(|| {
            format!(
                "standard input gives no picture: {}; {CURE}",
                self.description()
            )
        })
    }

    /// Describes a pipe that ended before its first picture.
    pub(super) fn end(&self) -> String {
        let what = self.description();
        format!("standard input ended without a JPEG: {what}; {CURE}")
    }

    fn description(&self) -> String {
        // The other kinds are those of datagrams.
        let known = Foreign::of(&self.head).filter(|foreign| {
            matches!(
                foreign,
                Foreign::H264 | Foreign::MpegTs | Foreign::OtherPicture | Foreign::Base64
            )
        });
        match known {
            Some(foreign) => format!("it holds {}", foreign.what()),
            None if self.head.is_empty() => "it is empty".to_owned(),
            None if self.has_jpeg_start() => {
                "it begins as a JPEG does, and no whole one that can be used has come".to_owned()
            }
            None => format!(
                "it begins with '{}'",
                printable_bytes(&self.head, MAX_SHOWN / 4)
            ),
        }
    }

    fn has_jpeg_start(&self) -> bool {
        self.head.windows(3).any(super::is_jpeg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is reported of a pipe that gives these bytes at once, and of its silence for 6 s.
    fn reports(bytes: &[u8]) -> Vec<String> {
        let start = Instant::now();
        let mut watch = PipeWatch::new(PATIENCE, start);
        watch.receive(bytes, start);
        let seconds = (0..=6).map(|n| start + Duration::from_secs(n));
        seconds.filter_map(|now| watch.report(now)).collect()
    }

    #[test]
    fn a_stream_that_holds_no_jpegs_is_named_once_with_the_cure() {
        let mut transport = vec![0; 4 * 188];
        transport.iter_mut().step_by(188).for_each(|b| *b = 0x47);
        for (bytes, words) in [
            (&b"\0\0\0\x01\x27\x64\0\x1f"[..], "H.264 or H.265 video"),
            (&transport, "an MPEG transport stream"),
            (b"\x89PNG\r\n\x1a\n", "pictures that are not JPEGs"),
            (b"y\ny\n\x1b[2J", "begins with 'y\\ny\\n\\u{1b}[2J'"),
            (&[0xFF, 0xD8, 0xFF, 0xE0], "begins as a JPEG does"),
        ] {
            let reports = reports(bytes);
            assert_eq!(reports.len(), 1, "{reports:?}");
            for part in [
                words,
                "rpicam-vid -t 0 --codec mjpeg",
                "-c:v mjpeg -f mjpeg -",
            ] {
                assert!(reports[0].contains(part), "{reports:?}");
            }
        }
    }

    #[test]
    fn a_silent_pipe_is_reported_once_and_what_comes_later_too() {
        let silent = reports(b"");
        assert_eq!(silent.len(), 1, "{silent:?}");
        assert!(silent[0].starts_with("no data comes on standard input for 5 s"));

        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = PipeWatch::new(PATIENCE, start);
        assert!(watch.report(at(5)).is_some());
        assert_eq!(watch.wait(at(6)), None);
        watch.receive(b"yes", at(60));
        assert_eq!(watch.wait(at(61)), Some(Duration::from_secs(4)));
        assert_eq!(watch.report(at(61)), None);
        assert!(
            watch
                .report(at(65))
                .is_some_and(|why| why.contains("'yes'"))
        );
        assert_eq!(watch.wait(at(66)), None);
    }

    #[test]
    fn a_megabyte_is_reported_at_once_unless_it_begins_a_jpeg() {
        let now = Instant::now();
        let report = |head: &[u8], length| {
            let mut watch = PipeWatch::new(PATIENCE, now);
            watch.receive(head, now);
            watch.receive(&vec![7; length], now);
            watch.report(now)
        };
        assert!(report(b"yes", MAX_FOREIGN).is_some());
        assert_eq!(report(b"yes", MAX_FOREIGN - 4), None);
        assert_eq!(
            report(b"--part\r\n\r\n\xff\xd8\xff\xe0", 9 * MAX_FOREIGN),
            None
        );
    }
}
