//! `pi-sender doctor`: checks that the camera gives a picture, how large a frame of it is, and that the relay takes it.
//!
//! It opens the source as the sender does and waits for a picture: no list of devices proves as much. It also reports what
//! software a camera needs, since there are many reasons for a missing picture.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use platform::config::{self, TransportChoice};
use platform::doctor::{Check, Report, files, machine, service};
use platform::http_client;
use protocol::datagram::MAX_DATAGRAM;
use protocol::label::{Label, StreamId};
use protocol::quic::Role;
use protocol::{MAX_FRAME, SMALL_FRAME};
use quic::doctor::RelayCheck;

use crate::args::Args;
use crate::bandwidth::Bandwidth;
use crate::encoder::{Encoding, FrameEncoder};
use crate::pacer::Pacer;
use crate::preview;
use crate::send::NetworkFeedback;
use crate::source::spec::SourceSpec;
use crate::source::{self, CapturedPicture, PictureSource, Poll};

/// Time that a source may take to give its first picture; `rpicam-vid` may take 5 s of it.
const FIRST_PICTURE_TIMEOUT: Duration = Duration::from_secs(15);
/// Payload of one IP fragment of a datagram on an Ethernet (bytes): 1500 less 20 of the IP header.
const FRAGMENT_PAYLOAD: usize = 1480;

/// Checks all that the sender needs, and reports what to do.
pub fn run(args: &Args) -> ExitCode {
    let mut report = Report::default();
    report.extend(check_software(&args.source, &CameraSupport::detect()));
    match first_picture(args) {
        Ok((captured, took)) => {
            let words = format!(
                "{} gives pictures, the first after {:.1} s",
                args.source,
                took.as_secs_f64()
            );
            report.add(&Check::good("camera", words));
            report.add(&check_frame(args, &captured));
        }
        Err(err) => report.add(&Check::bad("camera", format!("{err:#}"))),
    }
    let truth = |file: &PathBuf| files::check("--demo-truth", file, files::try_file(file));
    report.extend(args.demo_truth.as_ref().map(truth));
    if args.preview {
        let display = preview::check_display().map(|()| "a window opens".to_owned());
        report.add(&Check::of("display", display));
    }
    if let Err(err) = check_relay(args, &mut report) {
        report.add(&Check::bad("relay", format!("{err:#}")));
    }
    report.add(&machine::send_buffer());
    report.add(&machine::clock());
    let examined = config::file::<Args>();
    report.extend(service::checks("pi-sender", examined.as_deref()));
    report.end()
}

/// Returns the source's first picture, and how long it took.
fn first_picture(args: &Args) -> anyhow::Result<(CapturedPicture, Duration)> {
    let start = Instant::now();
    let strict = Args {
        exit_on_source_error: true,
        ..args.clone()
    };
    let mut source = PictureSource::open(&strict)?;
    let tick = Pacer::new(args.fps, start).next(start);
    while start.elapsed() < FIRST_PICTURE_TIMEOUT {
        match source.poll(&tick, FIRST_PICTURE_TIMEOUT)? {
            Poll::Picture(captured) => return Ok((captured, start.elapsed())),
            Poll::End => bail!("{} holds no picture", args.source),
            Poll::Pending => {}
        }
    }
    bail!(
        "{} opens and gives no picture for {} s: is its lens cap or its cable off?",
        args.source,
        FIRST_PICTURE_TIMEOUT.as_secs()
    )
}

fn check_frame(args: &Args, captured: &CapturedPicture) -> Check {
    let label = Label {
        stream: StreamId(0),
        seq: 1,
        captured_us: captured.captured_us,
        camera: args.camera_name(),
    };
    let mut encoder = FrameEncoder::new(args.frame_goal());
    let by_udp = args.transport == TransportChoice::Udp;
    if !by_udp {
        encoder.on_feedback(NetworkFeedback::Disconnected, Instant::now());
    }
    let made = encoder.encode(&captured.picture, &label, Instant::now());
    let grown = match by_udp {
        true => None,
        false => encoder.encode_grown(&captured.picture, &label).ok(),
    };
    match made {
        Ok(frame) => check_frame_size(
            frame.map(|frame| (frame.len(), encoder.encoding())),
            grown
                .flatten()
                .map(|(frame, encoding)| (frame.len(), encoding)),
            args.fps,
            by_udp,
        ),
        Err(err) => Check::bad("frame", format!("the picture cannot be decoded: {err:#}")),
    }
}

/// Length of a frame in bytes, and how it was made.
type Weight = (usize, Encoding);

/// Checks a frame's weight, `None` if the transport takes none. `grown`: what a good network leads to. `by_udp`: whether
/// `--transport udp` is set.
fn check_frame_size(frame: Option<Weight>, grown: Option<Weight>, fps: f64, by_udp: bool) -> Check {
    let Some((length, encoding)) = frame else {
        let most = if by_udp { MAX_DATAGRAM } else { MAX_FRAME };
        return Check::bad(
            "frame",
            format!(
                "has more than {most} bytes even at the lowest quality and size: choose a smaller --size"
            ),
        );
    };
    let up_to = grown.map(|grown| {
        format!(
            "; growing as the network carries it up to {}",
            weight(grown, fps)
        )
    });
    let like = format!(
        "{} at {fps} fps{}",
        weight((length, encoding), fps),
        up_to.unwrap_or_default()
    );
    let pieces = length.div_ceil(FRAGMENT_PAYLOAD);
    match length > SMALL_FRAME {
        true if by_udp => Check::advice(
            "frame",
            format!(
                "{like}; by UDP it travels in {pieces} pieces, and one lost piece loses the frame: use a smaller --size \
                     or --quality, or QUIC (--transport auto)"
            ),
        ),
        true if length > MAX_DATAGRAM => Check::good(
            "frame",
            format!("{like}; QUIC carries it, by UDP it would be made smaller"),
        ),
        true => Check::good(
            "frame",
            format!("{like}; QUIC carries it, by UDP it would be {pieces} pieces"),
        ),
        false => Check::good("frame", like),
    }
}

/// Returns size, quality, bytes and data rate of a stream of such frames.
fn weight((length, encoding): Weight, fps: f64) -> String {
    let quality = encoding.quality.map_or_else(
        || "as the camera coded it".to_owned(),
        |quality| format!("quality {quality}"),
    );
    let kb = length as f64 / 1e3;
    let bandwidth = Bandwidth::of_frames(length, fps);
    format!("{}, {quality}: {kb:.1} kB, {bandwidth}", encoding.size)
}

/// What this machine has for cameras: programs and devices.
#[derive(Debug, Default)]
struct CameraSupport {
    /// Whether it is a Raspberry Pi.
    pi: bool,
    rpicam: Option<PathBuf>,
    /// The V4L2 devices that open.
    open: Vec<PathBuf>,
    /// Those that this user may not open.
    denied: Vec<PathBuf>,
}

impl CameraSupport {
    fn detect() -> Self {
        let model = fs::read("/proc/device-tree/model").unwrap_or_default();
        let mut support = Self {
            pi: String::from_utf8_lossy(&model).contains("Raspberry Pi"),
            rpicam: source::rpicam(),
            ..Self::default()
        };
        for device in source::devices() {
            match may_open(&device) {
                true => support.open.push(device),
                false => support.denied.push(device),
            }
        }
        support
    }
}

/// Whether this user has the right to open a device, even if another program holds it now.
fn may_open(device: &Path) -> bool {
    let opened = OpenOptions::new().read(true).write(true).open(device);
    opened.map_or_else(|err| err.kind() != ErrorKind::PermissionDenied, |_| true)
}

/// Returns a check of the software for this source; `None` if the source needs none, or none was found.
fn check_software(source: &SourceSpec, support: &CameraSupport) -> Option<Check> {
    let list = |devices: &[PathBuf]| {
        let names: Vec<String> = devices
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    };
    let csi = matches!(source, SourceSpec::Auto | SourceSpec::Rpicam);
    let usb = matches!(source, SourceSpec::Auto | SourceSpec::Device(_));
    if csi && support.pi && support.rpicam.is_none() {
        return Some(Check::advice(
            "software",
            "a Raspberry Pi without rpicam-vid, which its own camera needs: sudo apt install rpicam-apps",
        ));
    }
    if usb && support.open.is_empty() && !support.denied.is_empty() {
        let user = env::var("USER").unwrap_or_else(|_| "$USER".to_owned());
        return Some(Check::advice(
            "software",
            format!(
                "this user may not open {}: sudo usermod -aG video {user}, then log in again",
                list(&support.denied)
            ),
        ));
    }
    let rpicam = support.rpicam.as_ref().filter(|_| csi);
    let rpicam = rpicam.map(|path| path.display().to_string());
    let devices = (usb && !support.open.is_empty()).then(|| list(&support.open));
    let found: Vec<String> = rpicam.into_iter().chain(devices).collect();
    (!found.is_empty()).then(|| Check::good("software", found.join(", ")))
}

fn check_relay(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let server = args.server.as_ref().context(
        "--server is missing: name the relay, as in pi-sender doctor --server relay.example, or set it in the \
         configuration file",
    )?;
    let camera = args.camera_name();
    let check = RelayCheck {
        server,
        transport: args.transport,
        role: Role::Send,
        camera: Some(&camera),
    };
    let unanswered = match server.url() {
        Some(_) => Vec::new(),
        None => check.run(report).context("starting the runtime")?,
    };
    let path = http_client::camera_path(&camera, "publish");
    let by_http = server.url().is_some() || !unanswered.is_empty();
    if by_http && args.transport == TransportChoice::Auto {
        return http_client::check(server, &path, unanswered, report)
            .context("starting the runtime");
    }
    report.extend(unanswered);
    Ok(())
}

#[cfg(test)]
mod tests {
    use platform::doctor::Verdict::{self, Advice, Bad, Good};
    use protocol::geometry::Size;

    use super::*;

    fn assert_check(check: &Check, verdict: Verdict, words: &str) {
        assert!(
            check.verdict == verdict && check.text.contains(words),
            "{check:?}"
        );
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_frame_is_weighed_for_the_way_it_goes() {
        let encoding = Encoding {
            quality: Some(80),
            size: Size {
                width: 300,
                height: 200,
            },
        };
        let judge = |length: Option<usize>, by_udp| {
            check_frame_size(length.map(|length| (length, encoding)), None, 10.0, by_udp)
        };
        assert_check(
            &judge(Some(9200), true),
            Good,
            "300x200, quality 80: 9.2 kB, 0.7 Mbit/s, 7.9 GB a day at 10 fps",
        );
        assert_check(&judge(Some(40_000), true), Advice, "28 pieces");
        assert_check(&judge(Some(40_000), false), Good, "QUIC carries it");
        assert_check(&judge(Some(300_000), false), Good, "made smaller");
        assert_check(&judge(None, false), Bad, "more than 4194304 bytes");
        assert_check(&judge(None, true), Bad, "more than 65507 bytes");
        let passed = Encoding {
            quality: None,
            ..encoding
        };
        assert_check(
            &check_frame_size(Some((1, passed)), None, 10.0, false),
            Good,
            "as the camera coded it",
        );
        let large = Encoding {
            size: Size {
                width: 640,
                height: 480,
            },
            ..encoding
        };
        let grown = check_frame_size(Some((9200, encoding)), Some((50_000, large)), 10.0, false);
        assert_check(
            &grown,
            Good,
            "at 10 fps; growing as the network carries it up to 640x480, quality 80: 50.0 kB, 4.0 Mbit/s, 43.2 GB a day",
        );
    }

    #[test]
    fn a_pi_without_its_cameras_program_is_told_what_to_install() {
        let pi = CameraSupport {
            pi: true,
            ..CameraSupport::default()
        };
        for source in [SourceSpec::Auto, SourceSpec::Rpicam] {
            assert_check(
                &check_software(&source, &pi).unwrap(),
                Advice,
                "apt install rpicam-apps",
            );
        }
        assert_eq!(
            check_software(&SourceSpec::Device("/dev/video0".into()), &pi),
            None
        );
        assert_eq!(
            check_software(&SourceSpec::Auto, &CameraSupport::default()),
            None
        );
    }

    #[test]
    fn a_device_that_the_user_may_not_open_is_told_with_its_group() {
        let denied = CameraSupport {
            denied: paths(&["/dev/video0"]),
            ..CameraSupport::default()
        };
        assert_check(
            &check_software(&SourceSpec::Auto, &denied).unwrap(),
            Advice,
            "usermod -aG video",
        );
        let one_opens = CameraSupport {
            open: paths(&["/dev/video2"]),
            ..denied
        };
        assert_check(
            &check_software(&SourceSpec::Auto, &one_opens).unwrap(),
            Good,
            "/dev/video2",
        );
        assert_eq!(check_software(&SourceSpec::Demo, &one_opens), None);
    }

    #[test]
    fn a_source_that_gives_a_picture_is_good_and_one_that_does_not_says_why() {
        use clap::Parser as _;
        let args = |source| Args::parse_from(["pi-sender", "doctor", "--source", source]);
        let (captured, _) = first_picture(&args("demo")).unwrap();
        assert_check(
            &check_frame(&args("demo"), &captured),
            Good,
            "300x200, quality 80",
        );
        let why = format!("{:#}", first_picture(&args("/dev/video99")).unwrap_err());
        assert!(why.contains("/dev/video99 does not exist"), "{why}");
    }
}
