//! `pi-sender doctor`: does the camera give a picture, what would a frame of it weigh, and does the relay take it?
//!
//! The source is opened as the sender opens it and has to give a picture: no list of devices proves as much. Signs of the
//! camera's software are told beside it, since a picture that does not come has many causes.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use imaging::window;
use platform::config::Transport;
use platform::doctor::{Check, Report, files, machine};
use protocol::SMALL_FRAME;
use protocol::datagram::MAX_DATAGRAM;
use protocol::label::{Label, StreamId};
use protocol::quic::Role;
use quic::doctor::RelayCheck;

use crate::args::Args;
use crate::frame::{Form, Maker};
use crate::ladder::Rung;
use crate::pace::Pace;
use crate::source::choice::Choice;
use crate::source::{self, Next, Shot, Source};

/// How long a source may take to give its first picture; `rpicam-vid` has 5 s of its own.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a piece of a datagram carries on an Ethernet (bytes): 1500 less 20 of the IP header.
const PIECE: usize = 1480;

/// Looks at all that the sender needs, and says what to do.
pub fn run(args: &Args) -> ExitCode {
    let mut report = Report::default();
    report.extend(judge_stack(&args.source, &Stack::look()));
    match picture(args) {
        Ok((shot, took)) => {
            let words = format!(
                "{} gives pictures, the first after {:.1} s",
                args.source,
                took.as_secs_f64()
            );
            report.add(&Check::good("camera", words));
            report.add(&frame(args, &shot));
        }
        Err(err) => report.add(&Check::bad("camera", format!("{err:#}"))),
    }
    let truth = |file: &PathBuf| files::check("--demo-truth", file, files::try_file(file));
    report.extend(args.demo_truth.as_ref().map(truth));
    if args.preview {
        let display = window::usable().context("--preview needs a display");
        report.add(&Check::of(
            "display",
            display.map(|()| "a window opens".to_owned()),
        ));
    }
    if let Err(err) = ask(args, &mut report) {
        report.add(&Check::bad("relay", format!("{err:#}")));
    }
    report.add(&machine::send_buffer());
    report.add(&machine::clock());
    report.end()
}

/// The source's first picture, and how long it took.
fn picture(args: &Args) -> anyhow::Result<(Shot, Duration)> {
    let start = Instant::now();
    let strict = Args {
        exit_on_source_error: true,
        ..args.clone()
    };
    let mut source = Source::open(&strict)?;
    let tick = Pace::new(args.fps, start).next(start);
    while start.elapsed() < PATIENCE {
        match source.next(&tick, PATIENCE)? {
            Next::Shot(shot) => return Ok((shot, start.elapsed())),
            Next::End => bail!("{} holds no picture", args.source),
            Next::Nothing => {}
        }
    }
    bail!(
        "{} opens and gives no picture for {} s: is its lens cap or its cable off?",
        args.source,
        PATIENCE.as_secs()
    )
}

fn frame(args: &Args, shot: &Shot) -> Check {
    let top = Rung {
        quality: args.quality,
        size: args.size,
    };
    let label = Label {
        stream: StreamId(0),
        seq: 1,
        captured_us: shot.captured_us,
        camera: args.camera_name(),
    };
    let mut maker = Maker::new(top, args.fixed);
    let made = maker.make(&shot.picture, &label, Instant::now());
    let plain = args.transport == Transport::Udp;
    match made {
        Ok(frame) => judge_frame(
            frame.map(|frame| frame.len()),
            maker.form(),
            args.fps,
            plain,
        ),
        Err(err) => Check::bad("frame", format!("the picture cannot be decoded: {err:#}")),
    }
}

/// `length`: of a frame in bytes, `None` where it fits into no datagram. `plain`: whether frames must go plainly.
fn judge_frame(length: Option<usize>, form: Form, fps: f64, plain: bool) -> Check {
    let Some(length) = length else {
        return Check::bad(
            "frame",
            format!(
                "fits into no datagram ({MAX_DATAGRAM} bytes) even at the lowest quality: choose a smaller --size"
            ),
        );
    };
    let kb = length as f64 / 1e3;
    let megabits = length as f64 * 8.0 * fps / 1e6;
    let quality = form.quality.map_or_else(
        || "as the camera coded it".to_owned(),
        |quality| format!("quality {quality}"),
    );
    let like = format!(
        "{}, {quality}: {kb:.1} kB, {megabits:.1} Mbit/s at {fps} fps",
        form.size
    );
    let pieces = length.div_ceil(PIECE);
    match length > SMALL_FRAME {
        true if plain => Check::advice(
            "frame",
            format!(
                "{like}; plainly it travels in {pieces} pieces, and one that is lost is the frame: a smaller --size or \
                     --quality, or QUIC (--transport auto)"
            ),
        ),
        true => Check::good(
            "frame",
            format!("{like}; QUIC carries it, plainly it would be {pieces} pieces"),
        ),
        false => Check::good("frame", like),
    }
}

/// What a camera needs of this machine, as far as it can be seen.
#[derive(Debug, Default)]
struct Stack {
    /// It is a Raspberry Pi.
    pi: bool,
    rpicam: Option<PathBuf>,
    /// The V4L2 devices that open, and those that this user may not open.
    open: Vec<PathBuf>,
    denied: Vec<PathBuf>,
}

impl Stack {
    fn look() -> Self {
        let model = fs::read("/proc/device-tree/model").unwrap_or_default();
        let mut stack = Self {
            pi: String::from_utf8_lossy(&model).contains("Raspberry Pi"),
            rpicam: source::rpicam(),
            ..Self::default()
        };
        for device in source::devices() {
            match may_open(&device) {
                true => stack.open.push(device),
                false => stack.denied.push(device),
            }
        }
        stack
    }
}

/// Whether this user may; one that somebody else holds may be opened by him too.
fn may_open(device: &Path) -> bool {
    let opened = OpenOptions::new().read(true).write(true).open(device);
    opened.map_or_else(|err| err.kind() != ErrorKind::PermissionDenied, |_| true)
}

/// Nothing where the source is no camera of this machine, or where there is nothing to tell but that.
fn judge_stack(source: &Choice, stack: &Stack) -> Option<Check> {
    let list = |devices: &[PathBuf]| {
        let names: Vec<String> = devices
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    };
    let csi = matches!(source, Choice::Auto | Choice::Rpicam);
    let usb = matches!(source, Choice::Auto | Choice::Device(_));
    if csi && stack.pi && stack.rpicam.is_none() {
        return Some(Check::advice(
            "software",
            "a Raspberry Pi without rpicam-vid, which its own camera needs: sudo apt install rpicam-apps",
        ));
    }
    if usb && stack.open.is_empty() && !stack.denied.is_empty() {
        let user = env::var("USER").unwrap_or_else(|_| "$USER".to_owned());
        return Some(Check::advice(
            "software",
            format!(
                "this user may not open {}: sudo usermod -aG video {user}, then log in again",
                list(&stack.denied)
            ),
        ));
    }
    let rpicam = stack.rpicam.as_ref().filter(|_| csi);
    let rpicam = rpicam.map(|path| path.display().to_string());
    let devices = (usb && !stack.open.is_empty()).then(|| list(&stack.open));
    let found: Vec<String> = rpicam.into_iter().chain(devices).collect();
    (!found.is_empty()).then(|| Check::good("software", found.join(", ")))
}

fn ask(args: &Args, report: &mut Report) -> anyhow::Result<()> {
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(check.run(report));
    // A look-up of a name may hang for longer than anybody waits.
    runtime.shutdown_background();
    Ok(())
}

#[cfg(test)]
mod tests {
    use platform::doctor::Verdict::{self, Advice, Bad, Good};
    use protocol::geometry::Size;

    use super::*;

    fn told(check: &Check, verdict: Verdict, words: &str) {
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
        let form = Form {
            quality: Some(80),
            size: Size {
                width: 300,
                height: 200,
            },
        };
        let judge = |length, plain| judge_frame(length, form, 10.0, plain);
        told(
            &judge(Some(9200), true),
            Good,
            "300x200, quality 80: 9.2 kB, 0.7 Mbit/s at 10 fps",
        );
        told(&judge(Some(40_000), true), Advice, "28 pieces");
        told(&judge(Some(40_000), false), Good, "QUIC carries it");
        told(&judge(None, false), Bad, "--size");
        let passed = Form {
            quality: None,
            ..form
        };
        told(
            &judge_frame(Some(1), passed, 10.0, false),
            Good,
            "as the camera coded it",
        );
    }

    #[test]
    fn a_pi_without_its_cameras_program_is_told_what_to_install() {
        let pi = Stack {
            pi: true,
            ..Stack::default()
        };
        for source in [Choice::Auto, Choice::Rpicam] {
            told(
                &judge_stack(&source, &pi).unwrap(),
                Advice,
                "apt install rpicam-apps",
            );
        }
        assert_eq!(
            judge_stack(&Choice::Device("/dev/video0".into()), &pi),
            None
        );
        assert_eq!(judge_stack(&Choice::Auto, &Stack::default()), None);
    }

    #[test]
    fn a_device_that_the_user_may_not_open_is_told_with_its_group() {
        let denied = Stack {
            denied: paths(&["/dev/video0"]),
            ..Stack::default()
        };
        told(
            &judge_stack(&Choice::Auto, &denied).unwrap(),
            Advice,
            "usermod -aG video",
        );
        let one_opens = Stack {
            open: paths(&["/dev/video2"]),
            ..denied
        };
        told(
            &judge_stack(&Choice::Auto, &one_opens).unwrap(),
            Good,
            "/dev/video2",
        );
        assert_eq!(judge_stack(&Choice::Demo, &one_opens), None);
    }

    #[test]
    fn a_source_that_gives_a_picture_is_good_and_one_that_does_not_says_why() {
        use clap::Parser as _;
        let args = |source| Args::parse_from(["pi-sender", "doctor", "--source", source]);
        let (shot, _) = picture(&args("demo")).unwrap();
        told(&frame(&args("demo"), &shot), Good, "300x200, quality 80");
        let why = format!("{:#}", picture(&args("/dev/video99")).unwrap_err());
        assert!(why.contains("/dev/video99 does not exist"), "{why}");
    }
}
