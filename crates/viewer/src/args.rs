//! The command line of `viewer`, and the errors for flags that do not go together.

use std::path::PathBuf;

use clap::Parser;
use platform::config::{Common, Switch, TransportChoice};
use platform::recording::Container;
use platform::server::Server;
use protocol::geometry::Size;
use protocol::label::CameraName;

use crate::labels::LabelFormat;

/// Shows the camera of a Sightline relay, or of the tutorial's server.
///
/// Keys in the window: q or Esc quit, s snapshot, r record, b boxes, h figures, f full screen, n next camera, ? the keys.
#[derive(Debug, Clone, Parser)]
#[command(name = "viewer", version)]
pub struct Args {
    /// The relay, by address or name (port 8081 unless given), a ticket, or the URL of its HTTP server: http://HOST:8080,
    /// https://HOST, https://HOST?token=TOKEN at a private one
    #[arg(
        long,
        value_name = "HOST[:PORT]|TICKET|URL",
        default_value = "127.0.0.1:8081"
    )]
    pub server: Server,
    /// The camera to show; without this flag the ticket's, or the first that is live
    #[arg(long, value_name = "NAME")]
    pub camera: Option<CameraName>,
    /// Size that the picture is fitted into, in its own shape, in window and recording
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    pub size: Size,
    /// Open no window: receive, decode, save and report
    #[arg(long)]
    pub headless: bool,
    /// End after so many frames shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Write each shown frame into this directory, byte for byte as it came, named by camera and time
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Write the shown boxes beside each picture of --save, in this format, as NAME.txt beside NAME.jpg
    #[arg(long, value_name = "FORMAT")]
    pub save_labels: Option<LabelFormat>,
    /// Add one JSON line for each shown frame to this file: seq, age_ms, boxes
    #[arg(long, value_name = "FILE")]
    pub shown: Option<PathBuf>,
    /// Record the picture into this video file, H.264 by ffmpeg: .mp4, .avi or .mkv
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Draw boxes that come as data; key b
    #[arg(long, value_name = "SWITCH", default_value = "on")]
    pub boxes: Switch,
    /// Show frame rate, age, loss and transport on the picture; key h
    #[arg(long, value_name = "SWITCH", default_value = "on")]
    pub hud: Switch,
    /// How frames travel from the relay: auto takes the best that it offers and the path carries: QUIC, UDP, or, where UDP
    /// is blocked for 5 s and the relay is at port 8081, HTTP at https://HOST and http://HOST:8080 (with a ticket at
    /// https://HOST alone, since http:// would show its token)
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub transport: TransportChoice,
    /// The flags of all programs.
    #[command(flatten)]
    pub common: Common,
}

impl Args {
    /// Checks what the types cannot: flags that do not go together.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn check(&self) -> Result<(), String> {
        if self.transport == TransportChoice::Udp && self.server.ticket().is_some() {
            return Err(
                "a ticket is for the QUIC transport alone: leave out --transport udp".to_owned(),
            );
        }
        if self.transport != TransportChoice::Auto && self.server.url().is_some() {
            return Err(
                "a URL is a relay's HTTP server: leave out --transport, or name the relay as HOST[:PORT]"
                    .to_owned(),
            );
        }
        if self.transport == TransportChoice::Udp && self.camera.is_some() {
            return Err(
                "--camera needs the QUIC transport: leave out --transport udp, with which the \
                 first camera that is live is shown"
                    .to_owned(),
            );
        }
        if self.save_labels.is_some() {
            self.check_labels()?;
        }
        match &self.record {
            Some(path) => Container::from_path(path)
                .map(drop)
                .map_err(|why| format!("--record {why}")),
            None => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), String> {
        let why = match () {
            () if self.save.is_none() => {
                "--save-labels writes beside the pictures of --save: add --save DIR"
            }
            () if self.transport == TransportChoice::Udp => {
                "--save-labels needs the QUIC transport, since boxes are pixels by UDP: leave out \
                 --transport udp"
            }
            () if self.boxes == Switch::Off => {
                "--save-labels writes the boxes that are shown: leave out --boxes off"
            }
            () => return Ok(()),
        };
        Err(why.to_owned())
    }

    /// Returns the chosen camera; `None` for the first that is live.
    pub(crate) fn camera(&self) -> Option<&CameraName> {
        let tickets = self.server.ticket().and_then(|t| t.camera.as_ref());
        self.camera.as_ref().or(tickets)
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use platform::config;

    use super::*;

    fn parse(args: &[&str]) -> Result<Args, String> {
        let argv = ["viewer"].iter().chain(args);
        let matches = config::command::<Args>()
            .try_get_matches_from(argv)
            .map_err(|err| err.to_string())?;
        let args = Args::from_arg_matches(&matches).map_err(|err| err.to_string())?;
        args.check().map(|()| args)
    }

    #[test]
    fn no_flag_at_all_is_the_viewer_of_this_machine() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.server.to_string(), "127.0.0.1:8081");
        assert_eq!((args.size.width, args.size.height), (640, 480));
        assert_eq!((args.boxes, args.hud), (Switch::On, Switch::On));
        assert!(!args.headless && args.frames.is_none() && args.transport == TransportChoice::Auto);
    }

    #[test]
    fn what_needs_quic_does_not_go_with_udp() {
        let ticket = ticket("yard");
        for args in [["--camera", "yard"], ["--server", &ticket]] {
            assert!(parse(&args).is_ok(), "{args:?}");
            let udp = [&args[..], &["--transport", "udp"]].concat();
            let why = parse(&udp).unwrap_err();
            assert!(
                why.contains("QUIC transport") && why.contains("--transport udp"),
                "{why}"
            );
        }
        for transport in ["auto", "quic", "udp"] {
            assert!(parse(&["--transport", transport]).is_ok(), "{transport}");
        }
    }

    #[test]
    fn a_url_is_a_relays_http_server_and_names_the_transport_by_itself() {
        let args = parse(&["--server", "https://cam.example"]).unwrap();
        assert_eq!(args.server.to_string(), "https://cam.example");
        let why = parse(&["--server", "http://relay", "--transport", "quic"]).unwrap_err();
        assert!(why.contains("leave out --transport"), "{why}");
    }

    #[test]
    fn a_flag_chooses_the_camera_before_the_ticket_does() {
        let camera = |args: &[&str]| parse(args).unwrap().camera().map(ToString::to_string);
        let ticket = ticket("yard");
        assert_eq!(camera(&[]), None);
        assert_eq!(camera(&["--server", &ticket]).as_deref(), Some("yard"));
        let both = ["--server", &ticket, "--camera", "drive"];
        assert_eq!(camera(&both).as_deref(), Some("drive"));
        assert!(parse(&["--camera", "a/b"]).is_err());
    }

    fn ticket(camera: &str) -> String {
        let digits = "1f".repeat(32);
        format!("sightline://relay.example/{camera}?token={digits}#sha256={digits}")
    }

    #[test]
    fn labels_need_pictures_and_boxes_as_data() {
        let labels = ["--save-labels", "yolo"];
        let refused = |words: &[&str]| parse(&[&labels[..], words].concat()).unwrap_err();
        assert!(refused(&[]).contains("add --save DIR"));
        assert!(refused(&["--save", "d", "--transport", "udp"]).contains("QUIC transport"));
        assert!(refused(&["--save", "d", "--boxes", "off"]).contains("leave out --boxes off"));
        assert!(parse(&["--save", "d", "--save-labels", "coco"]).is_err());
        let args = parse(&["--save", "d", "--save-labels", "yolo"]).unwrap();
        assert_eq!(args.save_labels, Some(LabelFormat::Yolo));
    }

    #[test]
    fn a_recording_names_its_container_by_the_extension() {
        for good in ["a.mp4", "b.AVI", "dir.x/c.mkv"] {
            assert!(parse(&["--record", good]).is_ok(), "{good}");
        }
        for bad in ["a", "a.gif", "mp4"] {
            let why = parse(&["--record", bad]).unwrap_err();
            assert!(why.contains(".mp4, .avi or .mkv"), "{why}");
        }
    }

    #[test]
    fn zero_frames_and_odd_sizes_are_refused() {
        assert!(parse(&["--frames", "0"]).is_err());
        assert!(parse(&["--size", "640"]).is_err());
        assert!(parse(&["--hud", "maybe"]).is_err());
    }
}
