//! The command line.

use std::env;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use platform::config::{Common, TransportChoice};
use platform::server::Server;
use protocol::label::CameraName;

use crate::frame_goal::{FrameGoal, SizeChoice};
use crate::preview::NO_WINDOW;
use crate::source::rpicam_options::RpicamOptions;
use crate::source::spec::SourceSpec;

/// Environment variable with the name of a service's instance, as `pi-sender@yard` sets it. Not one of the flags' variables: it
/// counts behind the configuration file.
const INSTANCE: &str = "SIGHTLINE_INSTANCE";

/// Sends a camera's pictures to a relay, the newest always first
#[derive(Debug, Clone, Parser)]
#[command(name = "pi-sender", version)]
pub struct Args {
    /// The relay, HOST or HOST:PORT (8081 without one), a ticket, or the URL of its HTTP server: http://HOST:8080,
    /// https://HOST, https://HOST?token=TOKEN at a private one
    #[arg(long, value_name = "HOST[:PORT]|TICKET|URL")]
    pub server: Option<Server>,
    /// Where pictures come from: auto, demo, rpicam, a camera's number or /dev/videoN, a video or MJPEG file, a
    /// picture, a sequence like img_%03d.jpg, a URL (http, rtsp, ..), - for JPEGs from standard input, or gst:PIPELINE
    #[arg(long, default_value = "auto", value_parser = OsStringValueParser::new().try_map(SourceSpec::from_os))]
    pub source: SourceSpec,
    /// Largest size of the frames, which the picture is fitted into in its own shape; auto: within 300x200 by UDP, else
    /// growing from there up to 640x480 as far as the network carries it. JPEGs at most a quarter larger are sent as they
    /// are
    #[arg(long, value_name = "auto|WxH", default_value = "auto")]
    pub size: SizeChoice,
    /// Give frames exactly the size of --size WxH, whatever the picture's shape
    #[arg(long)]
    pub stretch: bool,
    /// Frames a second, above 0 and up to 240
    #[arg(long, default_value = "10", value_parser = fps)]
    pub fps: f64,
    /// JPEG quality, 1 to 100; lowered, and after it the size, for as long as frames are too large for the network or
    /// a datagram
    #[arg(long, value_name = "Q", default_value = "80", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// The camera's name at the relay; without it, this computer's
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraName>,
    /// How frames travel: auto takes the best that the relay offers and the path carries: QUIC, UDP, or, where UDP is
    /// blocked for 5 s and the relay is at port 8081, HTTP at https://HOST and http://HOST:8080 (with a ticket at
    /// https://HOST alone, since http:// would show its token)
    #[arg(long, default_value = "auto")]
    pub transport: TransportChoice,
    /// Keep size, quality and rate whatever the network does, --size auto at 300x200; a frame too large for a datagram
    /// still lowers them
    #[arg(long)]
    pub fixed: bool,
    /// Show what is sent in a window; q or Esc ends the program
    #[arg(long)]
    pub preview: bool,
    /// End after this many frames, sent and skipped ones
    #[arg(long, value_name = "N")]
    pub frames: Option<NonZeroU64>,
    /// Start a file over at its end
    #[arg(long = "loop")]
    pub again: bool,
    /// End with an error when the camera is lost, instead of waiting for it to come back
    #[arg(long)]
    pub exit_on_source_error: bool,
    /// Options for rpicam-vid, written as in a shell: "--hflip --vflip --camera 1"
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub rpicam_options: RpicamOptions,
    /// Which scene --source demo shows
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub demo_seed: u64,
    /// How fast things move in --source demo, in pixels a second
    #[arg(long, value_name = "PX_PER_S", default_value = "60", value_parser = speed)]
    pub demo_speed: f64,
    /// Write the true boxes of --source demo, one line of JSON for each frame
    #[arg(long, value_name = "FILE")]
    pub demo_truth: Option<PathBuf>,
    /// Options that all programs have.
    #[command(flatten)]
    pub common: Common,
}

impl Args {
    /// Checks that the options fit together.
    ///
    /// # Errors
    /// If they do not; the message contains the cure.
    pub fn check(&self) -> Result<(), String> {
        match &self.server {
            // The doctor reports it among the rest.
            None if self.common.task.is_some() => {}
            None => {
                return Err("--server is missing: name the relay, as in --server relay.example (or relay.example:8081), \
                     or set server = \"..\" in the configuration file"
                    .to_owned());
            }
            Some(Server::Ticket(_)) if self.transport == TransportChoice::Udp => {
                return Err("a ticket works by QUIC only: leave out --transport udp".to_owned());
            }
            Some(Server::Url(_)) if self.transport != TransportChoice::Auto => {
                return Err(
                    "a URL is a relay's HTTP server: leave out --transport, or name the relay as HOST[:PORT]"
                        .to_owned(),
                );
            }
            Some(_) => {}
        }
        if self.preview && cfg!(not(feature = "window")) && self.common.task.is_none() {
            return Err(NO_WINDOW.to_owned());
        }
        if self.stretch && self.size == SizeChoice::Auto {
            return Err("--stretch needs the size, as in --size 300x200 --stretch".to_owned());
        }
        if self.demo_truth.is_some() && self.source != SourceSpec::Demo {
            return Err(
                "--demo-truth needs --source demo: no other source knows what it shows".to_owned(),
            );
        }
        Ok(())
    }

    /// Returns the frames that the flags ask for.
    pub(crate) fn frame_goal(&self) -> FrameGoal {
        FrameGoal {
            size: self.size,
            stretch: self.stretch,
            quality: self.quality,
            fixed: self.fixed,
        }
    }

    /// Returns the camera's name: `--camera`, else the ticket's, else that of the service's instance, else this computer's,
    /// the latter two with '-' for each character that a name may not contain.
    pub fn camera_name(&self) -> CameraName {
        let ticket = self.server.as_ref().and_then(Server::ticket);
        let given = self.camera.clone();
        let given = given.or_else(|| ticket.and_then(|ticket| ticket.camera.clone()));
        let instance = env::var_os(INSTANCE).filter(|name| !name.is_empty());
        given.unwrap_or_else(|| {
            let name = instance.unwrap_or_else(gethostname::gethostname);
            sanitised(&name.to_string_lossy())
        })
    }
}

fn sanitised(host: &str) -> CameraName {
    let replaced = |c: char| {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '-'
        }
    };
    let name: String = host.chars().map(replaced).collect();
    let end = name.floor_char_boundary(CameraName::MAX);
    let fallback = || "camera".parse().expect("'camera' is a valid name");
    name[..end].parse().unwrap_or_else(|_| fallback())
}

fn fps(text: &str) -> Result<f64, String> {
    in_range(
        text,
        |fps| fps > 0.0 && fps <= 240.0,
        "frames a second are above 0 and up to 240, as in 10 or 0.2",
    )
}

fn speed(text: &str) -> Result<f64, String> {
    in_range(
        text,
        |speed| (0.0..=10_000.0).contains(&speed),
        "a speed is 0 to 10000 pixels a second",
    )
}

fn in_range(text: &str, good: impl Fn(f64) -> bool, sentence: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x| good(*x))
        .ok_or_else(|| sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, String> {
        let words = ["pi-sender"].iter().chain(words);
        let args = Args::try_parse_from(words).map_err(|err| err.to_string())?;
        args.check().map(|()| args)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let args = parse(&["--server", "relay"]).unwrap();
        assert_eq!(
            (args.size.to_string().as_str(), args.fps, args.quality),
            ("auto", 10.0, 80)
        );
        assert_eq!(
            (args.source, args.transport),
            (SourceSpec::Auto, TransportChoice::Auto)
        );
        assert_eq!(args.demo_speed, 60.0);
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_cure() {
        for (words, cure) in [
            (&[][..], "--server relay.example"),
            (&["--server", "sightline://h:1/c?token=x"], "single quotes"),
            (&["--server", "relay", "--demo-truth", "x"], "--source demo"),
            (
                &["--server", "http://relay", "--transport", "udp"],
                "leave out --transport",
            ),
            (&["--server", "http://u:secret@relay"], "has no path"),
            (&["--server", "relay", "--stretch"], "--size 300x200"),
            (&["--server", "relay", "--size", "big"], "or auto"),
            (&["--server", "relay", "--camera", "a/b"], "letters, digits"),
            (&["--server", "relay", "--fps", "0"], "above 0"),
            (&["--server", "relay", "--fps", "nan"], "above 0"),
            (&["--server", "relay", "--quality", "0"], "1..=100"),
            (&["--server", "relay", "--frames", "0"], "--frames"),
        ] {
            let err = parse(words).unwrap_err();
            assert!(err.contains(cure), "{words:?}: {err}");
        }
    }

    #[test]
    fn a_slow_rate_is_a_fraction() {
        assert_eq!(
            parse(&["--server", "relay", "--fps", "0.2"]).unwrap().fps,
            0.2
        );
    }

    #[test]
    fn any_hostname_gives_a_name() {
        assert_eq!(sanitised("raspberrypi").as_str(), "raspberrypi");
        assert_eq!(sanitised("my pi/2").as_str(), "my-pi-2");
        assert_eq!(sanitised("").as_str(), "camera");
        assert_eq!(sanitised(&"ü".repeat(60)).as_str().len(), 64);
    }
}
